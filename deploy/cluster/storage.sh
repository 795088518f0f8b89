# Starts the S3 server, which takes the key of the services and workers from its environment, and
# makes their bucket: the server itself would only make it for the first upload, until which it
# answers lists with 404.
set -eu

make_bucket() {
    until echo "s3.bucket.create -name $BUCKET" | weed shell -master=127.0.0.1:9333 2>&1 \
        | grep -qE "created bucket|already exists"; do
        sleep 1
    done
}

make_bucket &
# Only S3 asks for a key: the other parts listen on loopback. Volumes are small, since the server
# counts in advance how many of them the disk has room for, and needs one at least.
exec weed -logtostderr server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir=/data \
    -volume.max=0 -master.volumeSizeLimitMB=1024 -volume.preStopSeconds=1 \
    -s3 -s3.ip.bind=0.0.0.0 -s3.port=8333 -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 \
    -master.telemetry=false

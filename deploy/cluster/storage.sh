# Starts the S3 server with one key, that of the services and workers; it makes its bucket itself.
set -eu
cat > /data/identities.json <<KEY
{"identities": [{"name": "isslim", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
 "credentials": [{"accessKey": "$AWS_ACCESS_KEY_ID", "secretKey": "$AWS_SECRET_ACCESS_KEY"}]}]}
KEY
exec weed -logtostderr server -ip=127.0.0.1 -ip.bind=0.0.0.0 -dir=/data -volume.max=0 \
    -s3 -s3.port=8333 -s3.config=/data/identities.json -s3.port.iceberg=0 -s3.port.lance=0 \
    -master.telemetry=false

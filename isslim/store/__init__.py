"""The state that processes share on disk and in the database: uploads, bundles, jobs.

# The bundle format, version 3

A bundle is a folder of plain files. Its id is the first 16 hexadecimal digits of the SHA-256 of
`manifest.json`, and the manifest holds the size and SHA-256 of every other file, so the id
identifies the content.

    manifest.json      `isslim.types.manifest.Manifest`; written last: without it, no bundle
    report.json        `isslim.types.report.Report`: trade-off curve, verdict, samples
    README.md          the model card; with `curve.svg` and `variants.svg`
    tokenizer.json     Hugging Face `tokenizers` format
    compressed.*       weights and sizes of the compressed network, `.safetensors` and `.json`
    <variant>.onnx     one graph per variant, keeping to the contract of `isslim.runtime.contract`

- Paths are relative, of letters, digits, `.`, `_`, `-` and `/`; no part is `.` or `..`
  (`isslim.store.paths`).
- A manifest names data, never code. Unknown versions are refused, and version 2 is read. Fields
  that a reader does not know are left out: later releases may add optional ones to a version.
- A reader MUST check the size and hash of every file before it uses one; a file that the manifest
  does not name is an error as well.
- A bundle is published by copying its files and then its manifest; it is never changed afterwards.
"""

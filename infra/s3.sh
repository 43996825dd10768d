#!/bin/sh
# The S3-compatible store: SeaweedFS in one process, with the buckets `mlflow` and `dvc`, each open to one key alone.
# Environment: S3_DATA (folder), S3_BIND (address that S3 listens on), S3_PORT, S3_MLFLOW_SECRET, S3_DVC_SECRET.
# The other parts of SeaweedFS ask for no password: they listen on 127.0.0.1, at S3_PORT+1 to +3.
set -eu
umask 077

for name in S3_MLFLOW_SECRET S3_DVC_SECRET; do
    eval "value=\${$name:?set it in infra/.env}"
    case $value in *[!A-Za-z0-9_-]*) echo "$name: letters, digits, - and _ only" >&2; exit 2 ;; esac
done
filer=$((S3_PORT + 1)) master=$((S3_PORT + 2)) volume=$((S3_PORT + 3))

identity() {
    printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],' "$1" "$1" "$2"
    printf ' "actions": ["Read:%s", "Write:%s", "List:%s", "Tagging:%s"]}' "$1" "$1" "$1" "$1"
}

mkdir -p "$S3_DATA"
printf '{"identities": [%s, %s]}\n' \
    "$(identity mlflow "$S3_MLFLOW_SECRET")" "$(identity dvc "$S3_DVC_SECRET")" > "$S3_DATA/identities.json"

weed -logtostderr=true server -dir="$S3_DATA" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="$master" -master.telemetry=false -master.volumeSizeLimitMB=1024 \
    -volume.port="$volume" -volume.max=0 -filer -filer.port="$filer" \
    -s3 -s3.ip.bind="$S3_BIND" -s3.port="$S3_PORT" -s3.config="$S3_DATA/identities.json" \
    -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0 &
server=$!
trap 'kill -TERM "$server"' TERM INT

# Once: a folder with this mark has its buckets.
while [ ! -e "$S3_DATA/buckets-made" ] && kill -0 "$server"; do
    for bucket in mlflow dvc; do
        echo "s3.bucket.create -name $bucket" | weed shell -master="127.0.0.1:$master" || true
    done
    list=$(echo s3.bucket.list | weed shell -master="127.0.0.1:$master" || true)
    case $list in *mlflow*) case $list in *dvc*) : > "$S3_DATA/buckets-made" ;; esac ;; esac
    sleep 1
done

code=0
wait "$server" || code=$?
if kill -0 "$server" 2> /dev/null; then   # the signal ended the first wait
    wait "$server" || code=$?
fi
exit "$code"

#!/bin/bash
# Runs Apache Spark with Hadoop's S3A against a server of its own: Debian's Java, and PyPI's pyspark in a virtual environment (made once).
# Arguments are parts of names of tests: Tests/Clients/run-spark.sh parquet magic
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=$(cd "$here/../.." && pwd)/.venv-spark
. "$here/../environment.sh"
command -v java >/dev/null || install_programs openjdk-17-jre-headless  # whose program has another name
make_environment "$environment" "$here/requirements-spark.txt"
jars=$(echo "$environment"/lib/python*/site-packages/pyspark/jars)
if [ ! -e "$jars/hadoop-aws-3.3.1.jar" ]; then
    fetched=$environment/fetched
    rm -rf "$fetched"
    mkdir "$fetched"
    TMPDIR=$fetched "$environment/bin/pip" download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        --no-binary sagemaker-pyspark --require-hashes --dest "$fetched" -r "$here/requirements-spark-jars.txt"
    tar -xzf "$fetched"/sagemaker_pyspark-*.tar.gz -C "$fetched" --strip-components=3 --wildcards \
        '*/deps/jars/aws-java-sdk-bundle-1.11.901.jar' '*/deps/jars/hadoop-aws-3.3.1.jar'
    mv "$fetched/aws-java-sdk-bundle-1.11.901.jar" "$jars"
    mv "$fetched/hadoop-aws-3.3.1.jar" "$jars"  # last, so that a fetch that was cut off is done again
    rm -rf "$fetched"
fi
exec timeout --foreground -k 10 600 "$environment/bin/python" "$here/spark_client.py" "$@"

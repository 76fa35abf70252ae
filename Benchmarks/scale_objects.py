"""Small and large objects through a lake's S3 gateway and straight to its store, in turns: ratios of the two.

ENDPOINT REPOSITORY KEY SECRET STORE KEY SECRET, as `scale.py` calls it."""
import concurrent.futures
import hashlib
import os
import statistics
import sys
import time

import boto3
import botocore.config


def client(endpoint, key, secret):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret,
        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                                      request_checksum_calculation="when_required",
                                      response_checksum_validation="when_required", max_pool_connections=16))


def main():
    endpoint, repository, key, secret, store, store_key, store_secret = sys.argv[1:]
    sides = [("lake", client(endpoint, key, secret), repository, "main/bench/"),
             ("store", client(store, store_key, store_secret), "lake", "alone/")]
    for name, size, count in (("1 KiB", 1024, 300), ("64 MiB", 64 << 20, 4)):
        body = os.urandom(size)
        times = {(side[0], verb): [] for side in sides for verb in ("PUT", "GET", "GET again")}
        for number in range(count):
            for side, s3, bucket, prefix in sides:
                where = f"{prefix}{name.replace(' ', '')}-{number}"
                begun = time.monotonic()
                s3.put_object(Bucket=bucket, Key=where, Body=body)
                times[side, "PUT"].append(time.monotonic() - begun)
                for verb in ("GET", "GET again"):
                    begun = time.monotonic()
                    got = s3.get_object(Bucket=bucket, Key=where)["Body"].read()
                    times[side, verb].append(time.monotonic() - begun)
                    assert len(got) == size
        for verb in ("PUT", "GET", "GET again"):
            mine, alone = (statistics.median(times[side, verb]) for side in ("lake", "store"))
            print(f"{verb} of {name}: {mine * 1000:.2f} ms through the lake, {alone * 1000:.2f} ms at the store: "
                  f"{alone / mine:.2f} of the store's rate")


if __name__ == "__main__":
    main()

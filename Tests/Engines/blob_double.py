#!/usr/bin/env python3
"""In-memory test double of the Azure Blob Storage REST API (standard library only).

Written from Microsoft's public "Azure Storage REST API reference"; each docstring names the page it follows.

    python3 blob_double.py --port 0 --account NAME --key BASE64KEY [--aad-token TOKEN] [--imds]
                           [--cert CERT.pem --key-file KEY.pem]

It binds 127.0.0.1 and prints `listening PORT`. Test controls, without authentication:

    POST /__faults    {"status": 503, "count": 3, "method": "PUT", "comp": "block"}   (500, 503, 429)
                      {"drop": true, "count": 1}        close the connection before doing anything
                      {"drop_after": true, "count": 1}  do the work, then close without an answer
                      {}                                forget all faults
    GET  /__requests  [{"method": "PUT", "comp": "block", "count": 4}, ...]
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import os
import re
import ssl
import sys
import threading
import uuid
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape, quoteattr

MAX_SKEW = timedelta(minutes=15)
MAX_RESULTS = 5000
MAX_RANGE_MD5 = 4 * 1024 * 1024
OLDEST_VERSION = "2015-02-21"  # since then the string to sign has "" for Content-Length: 0
SIGNED_HEADERS = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
                  "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")
CONTENT_HEADERS = {"Content-Type": "rsct", "Content-Encoding": "rsce", "Content-Language": "rscl",
                   "Content-Disposition": "rscd", "Cache-Control": "rscc", "Content-MD5": None}
KEY_FIELDS = ("skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid")
UNSUPPORTED_HEADERS = ("x-ms-lease-id", "x-ms-content-crc64", "x-ms-structured-body", "x-ms-encryption-key",
                       "x-ms-source-content-crc64")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CHALLENGE = ("Bearer authorization_uri=https://login.microsoftonline.com/{}/oauth2/authorize "
             "resource_id=https://storage.azure.com")
MESSAGES = {
    "AuthenticationFailed": "Server failed to authenticate the request. Make sure the value of Authorization header "
                            "is formed correctly including the signature.",
    "AuthorizationPermissionMismatch": "This request is not authorized to perform this operation using this "
                                       "permission.",
    "AuthorizationProtocolMismatch": "This request is not authorized to perform this operation using this protocol.",
    "AuthorizationSourceIPMismatch": "This request is not authorized to perform this operation using this source IP.",
    "UnauthorizedBlobOverwrite": "This request is not authorized to perform blob overwrites.",
    "BlobAlreadyExists": "The specified blob already exists.",
    "BlobNotFound": "The specified blob does not exist.",
    "ConditionNotMet": "The condition specified using HTTP conditional header(s) is not met.",
    "SourceConditionNotMet": "The source condition specified using HTTP conditional header(s) is not met.",
    "ContainerAlreadyExists": "The specified container already exists.",
    "ContainerNotFound": "The specified container does not exist.",
    "InvalidBlockList": "The specified block list is invalid.",
    "InvalidRange": "The range specified is invalid for the current size of the resource.",
    "Md5Mismatch": "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
    "ServerBusy": "The server is busy.",
    "InternalError": "Server encountered an internal error. Please try again after some time.",
}


class StorageError(Exception):
    """An error answer. Source: "Status and error codes" and "Blob service error codes"."""

    def __init__(self, status, code, message=None, detail=None, headers=None, extra=None):
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}
        self.message = message or MESSAGES.get(code, code)
        self.extra = dict(extra or {})
        if detail:
            self.extra["AuthenticationErrorDetail"] = detail


def denied(detail):
    """The 403 answer of failed authentication. Source: "Status and error codes"."""
    return StorageError(403, "AuthenticationFailed", detail=detail)


@dataclass
class Request:
    """One parsed request; header names in lower case, query values decoded."""

    method: str
    path: str
    query: dict
    headers: dict
    meta: dict = field(default_factory=dict)
    body: bytes = b""
    scheme: str = "http"
    client: str = "127.0.0.1"
    container: str = ""
    blob: str = ""
    identity: str = ""

    def get(self, header, default=""):
        """The value of a header."""
        return self.headers.get(header, default)

    def param(self, name, default=""):
        """The (first) value of a query parameter."""
        return self.query.get(name, [default])[0]


@dataclass
class Response:
    """One answer; `length` overrides Content-Length for HEAD."""

    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    length: int = None


@dataclass
class Blob:
    """A committed block blob."""

    data: bytes
    content: dict
    meta: dict
    blocks: dict = field(default_factory=dict)
    tier: str = ""
    copy: dict = field(default_factory=dict)
    etag: str = ""
    modified: datetime = None
    created: datetime = None


@dataclass
class Container:
    """A container: committed blobs and, by blob name, uncommitted blocks."""

    etag: str
    modified: datetime
    meta: dict
    blobs: dict = field(default_factory=dict)
    staged: dict = field(default_factory=dict)


def utc_now():
    """The time, in UTC."""
    return datetime.now(timezone.utc)


def http_date(moment):
    """RFC 1123 form. Source: "Representation of date/time values in headers"."""
    return format_datetime(moment, usegmt=True)


def parse_http_date(text):
    """The moment an RFC 1123 date names, or None."""
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def parse_iso(text):
    """The moment an ISO 8601 UTC value names, or None. Source: "Create a service SAS", access duration."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def sign(key, text):
    """Base64(HMAC-SHA256(UTF8(text), Base64.decode(key))). Source: "Authorize with Shared Key"."""
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


def md5_of(data):
    """The Base64 MD5 of data, as Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def check_md5(expected, data):
    """Refuse data that does not have the MD5 the client named. Source: "Put Blob", "Put Block": Content-MD5."""
    if not expected:
        return
    try:
        valid = len(base64.b64decode(expected, validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise StorageError(400, "InvalidMd5", "The MD5 value specified in the request is invalid.")
    if expected != md5_of(data):
        raise StorageError(400, "Md5Mismatch")


def shared_key_string_to_sign(account, request):
    """Source: "Authorize with Shared Key", sections "Blob, Queue, and File services (Shared Key authorization)",
    "Constructing the canonicalized headers string" and "... resource string" (2009-09-19 and later format).

    x-ms-* names with an underscore sort as in Microsoft's clients: "_" before digits and letters.
    """
    values = dict(request.headers)
    if values.get("content-length") == "0":
        values["content-length"] = ""
    if "x-ms-date" in values:
        values["date"] = ""
    names = sorted((name for name in values if name.startswith("x-ms-")), key=lambda name: name.replace("_", " "))
    lines = [request.method] + [values.get(name, "") for name in SIGNED_HEADERS]
    lines += [f"{name}:{values[name]}" for name in names]
    lines.append(f"/{account}{request.path}")
    lines += [f"{name}:{','.join(sorted(request.query[name]))}" for name in sorted(request.query)]
    return "\n".join(lines)


def sas_string_to_sign(account, request):
    """Source: "Create a service SAS" (2018-11-09 and 2020-12-06 formats) and "Create a user delegation SAS"
    (2018-11-09, 2020-02-10, 2020-12-06, 2025-07-05 and 2026-04-06 formats).
    """
    version, delegated = request.param("sv"), "skoid" in request.query
    resource = f"/blob/{account}/{request.container}"
    if request.param("sr") == "b":
        resource += f"/{request.blob}"
    lines = [request.param(name) for name in ("sp", "st", "se")] + [resource]
    names = ["si"]
    if delegated:
        names = ["skoid", "sktid", "skt", "ske", "sks", "skv"]
        names += ["saoid", "suoid", "scid"] if version >= "2020-02-10" else []
        names += ["skdutid", "sduoid"] if version >= "2025-07-05" else []
    names += ["sip", "spr", "sv", "sr", "snapshot"]
    names += ["ses"] if version >= "2020-12-06" else []
    lines += [request.param(name) for name in names]
    if delegated and version >= "2026-04-06":
        headers = [unquote(name) for name in request.param("srh").split(",") if name]
        params = [unquote(name) for name in request.param("srq").split(",") if name]
        lines.append("".join(f"{name}:{request.get(name.lower())}\n" for name in headers))
        lines.append("".join(f"\n{name}:{request.param(name)}" for name in params))
    lines += [request.param(name) for name in ("rscc", "rscd", "rsce", "rscl", "rsct")]
    return "\n".join(lines)


def xml_text(tag, value):
    """An element; a text XML 1.0 cannot hold is percent-encoded. Source: "List Blobs", response body, Encoded."""
    if NOT_XML.search(value):
        return f'<{tag} Encoded="true">{quote(value)}</{tag}>'
    return f"<{tag}>{escape(value, {chr(13): '&#13;'})}</{tag}>"


def xml_response(body, status=200, headers=None):
    """An XML answer."""
    document = '<?xml version="1.0" encoding="utf-8"?>' + body
    return Response(status, {"Content-Type": "application/xml"} | (headers or {}), document.encode())


def parse_xml(body):
    """The root element of a request body."""
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise StorageError(400, "InvalidXmlDocument", "XML specified is not syntactically valid.") from None


def check_conditions(request, blob, reading=False, prefix="", failure="ConditionNotMet"):
    """Source: "Specifying conditional headers for Blob service operations"."""
    match, none_match = request.get(prefix + "if-match"), request.get(prefix + "if-none-match")
    since = parse_http_date(request.get(prefix + "if-modified-since"))
    unmodified = parse_http_date(request.get(prefix + "if-unmodified-since"))
    not_modified = StorageError(304 if reading else 412, failure)
    if match and (blob is None or match not in ("*", blob.etag)):
        raise StorageError(412, failure)
    if blob is None:
        return
    if none_match == "*" and not reading and not prefix:
        raise StorageError(409, "BlobAlreadyExists")
    if none_match in ("*", blob.etag):
        raise not_modified
    modified = blob.modified.replace(microsecond=0)
    if since and modified <= since:
        raise not_modified
    if unmodified and modified > unmodified:
        raise StorageError(412, failure)


def content_of(request, plain_headers):
    """The content properties a write sets: x-ms-blob-*, else (Put Blob only) the plain header. Source: "Put Blob"."""
    content = {}
    for name in CONTENT_HEADERS:
        lower = name.lower()
        own = "x-ms-blob-" + (lower if lower.startswith("content") else "cache-control")
        value = request.get(own) or (request.get(lower) if plain_headers else "")
        if value:
            content[name] = value
    content.setdefault("Content-Type", "application/octet-stream")
    return content


def block_id(text):
    """Check a block id. Source: "Put Block", URI parameter blockid."""
    try:
        valid = 0 < len(base64.b64decode(text, validate=True)) <= 64
    except binascii.Error:
        valid = False
    if not valid:
        raise StorageError(400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid.")
    return text


def byte_range(text, size):
    """The [start, end) of a range header. Source: "Specifying the range header for Blob service operations"."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", text)
    if not found:
        raise StorageError(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct "
                                                      "format.")
    start, last = int(found[1]), int(found[2] or size - 1)
    if start >= size or last < start:
        raise StorageError(416, "InvalidRange", headers={"Content-Range": f"bytes */{size}"})
    return start, min(last + 1, size)


class BlobService:
    """One storage account: its data, its authentication, its operations."""

    def __init__(self, account, key, aad_token=None):
        self.account, self.key, self.aad_token = account, key, aad_token
        self.object_id, self.tenant_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.secret = base64.b64encode(os.urandom(64)).decode()
        self.containers = {}
        self.lock = threading.RLock()
        self.version = int(utc_now().timestamp() * 1e6)

    # ---- authentication

    def authorize(self, request, permissions):
        """Source: "Authorize requests to Azure Storage"."""
        scheme, _, credential = request.get("authorization").partition(" ")
        if "sig" in request.query:
            if bool(scheme) != ("sduoid" in request.query):
                raise denied("A SAS and an Authorization header go together only in a user-bound SAS (sduoid).")
            if scheme:
                self.check_bearer(scheme, credential)
            request.identity = "sas"
            self.check_sas(request, permissions)
            return
        if not scheme:
            raise self.challenge("NoAuthenticationInformation")
        self.check_version(request)
        self.check_date(request, required=scheme == "SharedKey")
        if scheme == "SharedKey":
            self.check_shared_key(request, credential)
        else:
            self.check_bearer(scheme, credential)
        request.identity = scheme

    def challenge(self, code):
        """Source: "Authorize with Microsoft Entra ID", section "Bearer challenge"."""
        return StorageError(401, code, "Server failed to authenticate the request. Please refer to the information in "
                                       "the www-authenticate header.",
                            headers={"WWW-Authenticate": CHALLENGE.format(self.tenant_id)})

    def check_version(self, request):
        """Source: "Versioning for the Azure Storage services"."""
        version = request.get("x-ms-version")
        if not version:
            raise StorageError(400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not "
                                                             "specified.", extra={"HeaderName": "x-ms-version"})
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", version) or version < OLDEST_VERSION:
            raise StorageError(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct "
                                                          "format.", extra={"HeaderName": "x-ms-version"})

    def check_date(self, request, required):
        """Source: "Authorize with Shared Key", section "Specifying the Date header"."""
        text = request.get("x-ms-date") or request.get("date")
        if not text and not required:
            return
        moment = parse_http_date(text)
        if moment is None or abs(utc_now() - moment) > MAX_SKEW:
            raise denied(f"The Date header in the request is incorrect: '{text}'.")

    def check_shared_key(self, request, credential):
        """Source: "Authorize with Shared Key"."""
        account, _, signature = credential.partition(":")
        expected = shared_key_string_to_sign(self.account, request)
        if account != self.account or not hmac.compare_digest(signature.encode(), sign(self.key, expected).encode()):
            raise denied(f"The MAC signature found in the HTTP request '{signature}' is not the same as any computed "
                         f"signature. Server used following string to sign: '{expected}'.")

    def check_bearer(self, scheme, credential):
        """Source: "Authorize with Microsoft Entra ID"."""
        if scheme != "Bearer" or not self.aad_token or credential != self.aad_token:
            raise self.challenge("InvalidAuthenticationInfo")

    def delegation_key(self, fields):
        """The key that belongs to the fields of a user delegation key: derived, so nothing need be stored."""
        return sign(self.secret, "\n".join(fields))

    def check_sas(self, request, permissions):
        """Source: "Create a service SAS", "Create a user delegation SAS"."""
        version, kind = request.param("sv"), request.param("sr")
        if version < "2018-11-09" or kind not in ("b", "c") or not (request.container if kind == "c" else request.blob):
            raise denied("sv, sr or the resource of the request is not one this signature can be for.")
        delegated = "skoid" in request.query
        fields = [request.param(name) for name in KEY_FIELDS]
        expected = sas_string_to_sign(self.account, request)
        signature = sign(self.delegation_key(fields) if delegated else self.key, expected)
        if not hmac.compare_digest(signature.encode(), request.param("sig").encode()):
            raise denied(f"Signature did not match. String to sign used was {expected}")
        self.check_sas_time(request, "st", "se")
        if delegated:
            self.check_sas_time(request, "skt", "ske")
        if request.scheme not in request.param("spr", "https,http").split(","):
            raise StorageError(403, "AuthorizationProtocolMismatch")
        first, _, last = request.param("sip", request.client).partition("-")
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last or first)
        if not low <= ipaddress.ip_address(request.client) <= high:
            raise StorageError(403, "AuthorizationSourceIPMismatch")
        self.check_sas_permissions(request, permissions)

    def check_sas_time(self, request, start_name, end_name):
        """Source: "Create a service SAS", section "Specify the access duration"."""
        end = parse_iso(request.param(end_name))
        start = parse_iso(request.param(start_name)) if start_name in request.query else end
        if end is None or start is None or end <= utc_now() or (start_name in request.query and start > utc_now()):
            raise denied(f"Signature not valid in the specified time frame: {start_name} "
                         f"[{request.param(start_name)}] {end_name} [{request.param(end_name)}]")

    def check_sas_permissions(self, request, permissions):
        """Source: "Create a service SAS", section "Specify permissions"; c writes new blobs only."""
        granted = set(request.param("sp")) & set(permissions)
        if not granted:
            raise StorageError(403, "AuthorizationPermissionMismatch")
        container = self.containers.get(request.container)
        if granted == {"c"} and container and request.blob in container.blobs:
            raise StorageError(403, "UnauthorizedBlobOverwrite")

    def get_user_delegation_key(self, request):
        """Source: "Get User Delegation Key"."""
        if request.identity != "Bearer":
            raise denied("Only authentication scheme Bearer is supported.")
        root = parse_xml(request.body)
        now = utc_now()
        start, expiry = (parse_iso(root.findtext(tag) or "") for tag in ("Start", "Expiry"))
        if start is None or expiry is None or not max(start, now) < expiry <= now + timedelta(days=7):
            raise StorageError(400, "InvalidXmlNodeValue", "The value for one of the XML nodes is not in the correct "
                                                           "format.")
        times = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (start, expiry)]
        tenant = root.findtext("DelegatedUserTid") or ""
        fields = [self.object_id, self.tenant_id, *times, "b", request.get("x-ms-version"), tenant]
        tags = ("SignedOid", "SignedTid", "SignedStart", "SignedExpiry", "SignedService", "SignedVersion",
                "SignedDelegatedUserTid")
        body = "".join(xml_text(tag, value) for tag, value in zip(tags, fields) if value)
        return xml_response(f"<UserDelegationKey>{body}{xml_text('Value', self.delegation_key(fields))}"
                            "</UserDelegationKey>")

    # ---- helpers

    def stamp(self, thing):
        """Give a container or blob a new ETag and Last-Modified."""
        self.version += 1
        thing.etag, thing.modified = f'"0x8D{self.version:013X}"', utc_now()
        return thing

    def container_of(self, request):
        """The container of the request."""
        if request.container not in self.containers:
            raise StorageError(404, "ContainerNotFound")
        return self.containers[request.container]

    def blob_of(self, request, reading):
        """The existing blob of the request, its conditions checked."""
        blob = self.container_of(request).blobs.get(request.blob)
        if blob is None:
            raise StorageError(404, "BlobNotFound")
        check_conditions(request, blob, reading)
        return blob

    def store(self, request, blob, status, headers=None):
        """Commit a blob that a write operation made; uncommitted blocks of it are gone."""
        container = self.container_of(request)
        old = container.blobs.get(request.blob)
        check_conditions(request, old)
        self.stamp(blob)
        blob.created = old.created if old else blob.modified
        container.blobs[request.blob] = blob
        container.staged.pop(request.blob, None)
        written = {"ETag": blob.etag, "Last-Modified": http_date(blob.modified),
                   "x-ms-request-server-encrypted": "true"}
        return Response(status, written | (headers or {}))

    def page(self, names, request):
        """One page of sorted names and its NextMarker. Source: "List Blobs": marker, maxresults."""
        try:
            limit = int(request.param("maxresults", str(MAX_RESULTS)))
            start = base64.b64decode(request.param("marker").removeprefix("2!"), validate=True)
        except ValueError:
            raise StorageError(400, "InvalidQueryParameterValue", "Value for one of the query parameters specified in "
                                                                  "the request URI is invalid.") from None
        if limit <= 0:
            raise StorageError(400, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the "
                                                                     "request URI is outside the permissible range.")
        limit = min(limit, MAX_RESULTS)
        names = [name for name in sorted(names, key=str.encode) if name.encode() >= start]
        rest = names[limit:]
        return names[:limit], "2!" + base64.b64encode(rest[0].encode()).decode() if rest else ""

    def listing(self, request, tag, items, marker, attributes=""):
        """The EnumerationResults of a page. Source: "List Blobs", "List Containers"."""
        endpoint = f"{request.scheme}://{request.get('host')}/"
        if not request.get("host").startswith(self.account + "."):
            endpoint += self.account
        echoed = (("Prefix", "prefix"), ("Marker", "marker"), ("MaxResults", "maxresults"), ("Delimiter", "delimiter"))
        head = "".join(xml_text(name, request.param(param)) for name, param in echoed if param in request.query)
        return xml_response(f"<EnumerationResults ServiceEndpoint={quoteattr(endpoint)}{attributes}>{head}"
                            f"<{tag}>{''.join(items)}</{tag}>{xml_text('NextMarker', marker)}</EnumerationResults>")

    # ---- containers

    def list_containers(self, request):
        """Source: "List Containers"."""
        names = [name for name in self.containers if name.startswith(request.param("prefix"))]
        names, marker = self.page(names, request)
        items = []
        for name in names:
            container = self.containers[name]
            items.append(f"<Container>{xml_text('Name', name)}<Properties>"
                         f"{xml_text('Last-Modified', http_date(container.modified))}{xml_text('Etag', container.etag)}"
                         "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState></Properties>"
                         f"{self.metadata_xml(request, container)}</Container>")
        return self.listing(request, "Containers", items, marker)

    def metadata_xml(self, request, thing):
        """The Metadata element, when include=metadata asks for it."""
        if "metadata" not in request.param("include").split(","):
            return ""
        return f"<Metadata>{''.join(xml_text(name, value) for name, value in thing.meta.items())}</Metadata>"

    def create_container(self, request):
        """Source: "Create Container"; "Naming and referencing containers, blobs, and metadata"."""
        if request.container in self.containers:
            raise StorageError(409, "ContainerAlreadyExists")
        if not re.fullmatch(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*", request.container):
            raise StorageError(400, "InvalidResourceName", "The specified resource name contains invalid characters.")
        container = self.containers[request.container] = self.stamp(Container("", None, request.meta))
        return Response(201, {"ETag": container.etag, "Last-Modified": http_date(container.modified)})

    def get_container(self, request):
        """Source: "Get Container Properties", "Get Container Metadata"."""
        container = self.container_of(request)
        headers = {"ETag": container.etag, "Last-Modified": http_date(container.modified),
                   "x-ms-lease-status": "unlocked", "x-ms-lease-state": "available"}
        return Response(200, headers | {f"x-ms-meta-{name}": value for name, value in container.meta.items()})

    def set_container_metadata(self, request):
        """Source: "Set Container Metadata"."""
        container = self.container_of(request)
        container.meta = request.meta
        self.stamp(container)
        return Response(200, {"ETag": container.etag, "Last-Modified": http_date(container.modified)})

    def delete_container(self, request):
        """Source: "Delete Container"."""
        self.container_of(request)
        del self.containers[request.container]
        return Response(202)

    def list_blobs(self, request):
        """Source: "List Blobs"."""
        container = self.container_of(request)
        prefix, delimiter = request.param("prefix"), request.param("delimiter")
        prefixes, entries = set(), set()
        for name in container.blobs:
            if not name.startswith(prefix):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                prefixes.add(name[:cut + len(delimiter)])
            else:
                entries.add(name)
        names, marker = self.page(prefixes | entries, request)
        items = [f"<BlobPrefix>{xml_text('Name', name)}</BlobPrefix>" if name in prefixes
                 else self.blob_xml(request, name, container.blobs[name]) for name in names]
        return self.listing(request, "Blobs", items, marker, f" ContainerName={quoteattr(request.container)}")

    def blob_xml(self, request, name, blob):
        """One Blob element of "List Blobs"; its Etag has no quotes."""
        properties = {"Creation-Time": http_date(blob.created), "Last-Modified": http_date(blob.modified),
                      "Etag": blob.etag.strip('"'), "Content-Length": str(len(blob.data))}
        properties |= {tag: blob.content.get(tag, "") for tag in CONTENT_HEADERS}
        properties |= {"BlobType": "BlockBlob", "AccessTier": blob.tier or "Hot", "LeaseStatus": "unlocked",
                       "LeaseState": "available", "ServerEncrypted": "true"}
        body = "".join(xml_text(tag, value) for tag, value in properties.items())
        return (f"<Blob>{xml_text('Name', name)}<Properties>{body}</Properties>{self.metadata_xml(request, blob)}"
                "<OrMetadata /></Blob>")

    # ---- blobs

    def put_blob(self, request):
        """Source: "Put Blob"; with x-ms-copy-source "Put Blob From URL", "Copy Blob From URL" and "Copy Blob"."""
        self.container_of(request)
        if request.get("x-ms-blob-type", "BlockBlob") != "BlockBlob":
            raise StorageError(400, "InvalidHeaderValue", "The double has block blobs only.",
                               extra={"HeaderName": "x-ms-blob-type"})
        if "x-ms-copy-source" in request.headers:
            return self.put_blob_from_url(request) if request.get("x-ms-blob-type") else self.copy_blob(request)
        if "x-ms-blob-type" not in request.headers:
            raise StorageError(400, "MissingRequiredHeader", extra={"HeaderName": "x-ms-blob-type"})
        check_md5(request.get("content-md5"), request.body)
        check_md5(request.get("x-ms-blob-content-md5"), request.body)
        content = content_of(request, plain_headers=True) | {"Content-MD5": md5_of(request.body)}
        blob = Blob(request.body, content, request.meta, tier=request.get("x-ms-access-tier"))
        return self.store(request, blob, 201, {"Content-MD5": content["Content-MD5"]})

    def copy_blob(self, request):
        """Source: "Copy Blob" and, with x-ms-requires-sync: true, "Copy Blob From URL"; both answer 202."""
        synchronous = request.get("x-ms-requires-sync").lower() == "true"
        source = self.read_source(request, same_account=not synchronous)
        copy = {"x-ms-copy-id": str(uuid.uuid4()), "x-ms-copy-status": "success"}
        size = len(source.data)
        details = {"x-ms-copy-source": request.get("x-ms-copy-source").partition("?")[0],
                   "x-ms-copy-progress": f"{size}/{size}", "x-ms-copy-completion-time": http_date(utc_now())}
        blob = Blob(source.data, dict(source.content), request.meta or dict(source.meta), dict(source.blocks),
                    request.get("x-ms-access-tier"), copy | details)
        return self.store(request, blob, 202, copy)

    def put_blob_from_url(self, request):
        """Source: "Put Blob From URL"."""
        source = self.read_source(request, same_account=False)
        content = content_of(request, plain_headers=False)
        if request.get("x-ms-copy-source-blob-properties", "true") == "true":
            content = dict(source.content)
        content["Content-MD5"] = md5_of(source.data)
        blob = Blob(source.data, content, request.meta, tier=request.get("x-ms-access-tier"))
        return self.store(request, blob, 201, {"Content-MD5": content["Content-MD5"]})

    def read_source(self, request, same_account):
        """The source blob. Source: the pages named at `put_blob`, header x-ms-copy-source: it needs a SAS or
        x-ms-copy-source-authorization; only "Copy Blob" takes the request's own key or token for the same account.
        """
        url = urlsplit(request.get("x-ms-copy-source"))
        source = Request("GET", url.path, parse_query(url.query), {"host": url.netloc}, scheme=url.scheme)
        try:
            if url.netloc != request.get("host") and not url.netloc.startswith(self.account + "."):
                raise StorageError(400, "InvalidUri", "The double copies from itself only.")
            self.locate(source)
            if "sig" in source.query:
                self.check_sas(source, "r")
            elif request.get("x-ms-copy-source-authorization"):
                self.check_bearer(*request.get("x-ms-copy-source-authorization").partition(" ")[::2])
            elif not same_account or request.identity == "sas":
                raise StorageError(409, "PublicAccessNotPermitted",
                                   "Public access is not permitted on this storage account.")
            blob = self.container_of(source).blobs.get(source.blob)
            if blob is None:
                raise StorageError(404, "BlobNotFound")
        except StorageError as error:
            raise StorageError(error.status, "CannotVerifyCopySource", error.message, extra=error.extra | {
                "CopySourceStatusCode": str(error.status), "CopySourceErrorMessage": error.message}) from None
        check_conditions(request, blob, prefix="x-ms-source-", failure="SourceConditionNotMet")
        if "x-ms-source-range" not in request.headers:
            check_md5(request.get("x-ms-source-content-md5"), blob.data)
        return blob

    def put_block(self, request):
        """Source: "Put Block" and, with x-ms-copy-source, "Put Block From URL"."""
        container = self.container_of(request)
        name = block_id(request.param("blockid"))
        if "x-ms-copy-source" in request.headers:
            data = self.read_source(request, same_account=False).data
            if "x-ms-source-range" in request.headers:
                start, end = byte_range(request.get("x-ms-source-range"), len(data))
                data = data[start:end]
            check_md5(request.get("x-ms-source-content-md5"), data)
        else:
            data = request.body
            check_md5(request.get("content-md5"), data)
        staged = container.staged.setdefault(request.blob, {})
        committed = container.blobs[request.blob].blocks if request.blob in container.blobs else {}
        if any(len(other) != len(name) for other in (staged or committed)):
            raise StorageError(400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.")
        staged[name] = data
        return Response(201, {"Content-MD5": md5_of(data), "x-ms-request-server-encrypted": "true"})

    def put_block_list(self, request):
        """Source: "Put Block List"."""
        container = self.container_of(request)
        check_md5(request.get("content-md5"), request.body)
        staged = container.staged.get(request.blob, {})
        old = container.blobs.get(request.blob)
        committed = old.blocks if old else {}
        places = {"Latest": committed | staged, "Uncommitted": staged, "Committed": committed}
        blocks, parts = {}, []
        for element in parse_xml(request.body):
            name = element.text or ""
            if element.tag not in places or name not in places[element.tag]:
                raise StorageError(400, "InvalidBlockList")
            blocks[name] = places[element.tag][name]
            parts.append(blocks[name])
        blob = Blob(b"".join(parts), content_of(request, plain_headers=False), request.meta, blocks,
                    request.get("x-ms-access-tier"))
        return self.store(request, blob, 201, {"Content-MD5": md5_of(request.body)})

    def blob_headers(self, request, blob):
        """The headers of "Get Blob" and "Get Blob Properties"; a SAS overrides some (rscc rscd rsce rscl rsct)."""
        headers = {"ETag": blob.etag, "Last-Modified": http_date(blob.modified), "Accept-Ranges": "bytes",
                   "x-ms-creation-time": http_date(blob.created), "x-ms-blob-type": "BlockBlob",
                   "x-ms-lease-status": "unlocked", "x-ms-lease-state": "available", "x-ms-server-encrypted": "true"}
        headers |= blob.content | blob.copy | {f"x-ms-meta-{name}": value for name, value in blob.meta.items()}
        if request.identity == "sas":
            headers |= {name: request.param(param) for name, param in CONTENT_HEADERS.items() if param in request.query}
        return headers

    def get_blob(self, request):
        """Source: "Get Blob"."""
        blob = self.blob_of(request, reading=True)
        headers = self.blob_headers(request, blob)
        wanted = request.get("x-ms-range") or request.get("range")
        if not wanted:
            return Response(200, headers, blob.data)
        start, end = byte_range(wanted, len(blob.data))
        data = blob.data[start:end]
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(blob.data)}"
        if "Content-MD5" in headers:
            headers["x-ms-blob-content-md5"] = headers.pop("Content-MD5")
        if request.get("x-ms-range-get-content-md5") == "true":
            if len(data) > MAX_RANGE_MD5:
                raise StorageError(400, "OutOfRangeInput", "One of the request inputs is out of range.")
            headers["Content-MD5"] = md5_of(data)
        return Response(206, headers, data)

    def head_blob(self, request):
        """Source: "Get Blob Properties"."""
        blob = self.blob_of(request, reading=True)
        tier = {"x-ms-access-tier": blob.tier or "Hot"} | ({} if blob.tier else {"x-ms-access-tier-inferred": "true"})
        return Response(200, self.blob_headers(request, blob) | tier, length=len(blob.data))

    def get_blob_metadata(self, request):
        """Source: "Get Blob Metadata"."""
        blob = self.blob_of(request, reading=True)
        headers = {"ETag": blob.etag, "Last-Modified": http_date(blob.modified)}
        return Response(200, headers | {f"x-ms-meta-{name}": value for name, value in blob.meta.items()})

    def set_blob_metadata(self, request):
        """Source: "Set Blob Metadata"."""
        blob = self.blob_of(request, reading=False)
        blob.meta = request.meta
        self.stamp(blob)
        return Response(200, {"ETag": blob.etag, "Last-Modified": http_date(blob.modified),
                              "x-ms-request-server-encrypted": "true"})

    def delete_blob(self, request):
        """Source: "Delete Blob"."""
        self.blob_of(request, reading=False)
        del self.container_of(request).blobs[request.blob]
        return Response(202, {"x-ms-delete-type-permanent": "true"})

    # ---- dispatch

    # (method, level, restype, comp): (operation, SAS permissions that allow it)
    OPERATIONS = {
        ("GET", "service", "", "list"): (list_containers, ""),
        ("POST", "service", "service", "userdelegationkey"): (get_user_delegation_key, ""),
        ("PUT", "container", "container", ""): (create_container, ""),
        ("GET", "container", "container", ""): (get_container, ""),
        ("HEAD", "container", "container", ""): (get_container, ""),
        ("GET", "container", "container", "metadata"): (get_container, ""),
        ("HEAD", "container", "container", "metadata"): (get_container, ""),
        ("PUT", "container", "container", "metadata"): (set_container_metadata, ""),
        ("DELETE", "container", "container", ""): (delete_container, ""),
        ("GET", "container", "container", "list"): (list_blobs, "l"),
        ("PUT", "blob", "", ""): (put_blob, "cw"),
        ("PUT", "blob", "", "block"): (put_block, "cw"),
        ("PUT", "blob", "", "blocklist"): (put_block_list, "cw"),
        ("PUT", "blob", "", "metadata"): (set_blob_metadata, "w"),
        ("GET", "blob", "", ""): (get_blob, "r"),
        ("HEAD", "blob", "", ""): (head_blob, "r"),
        ("GET", "blob", "", "metadata"): (get_blob_metadata, "r"),
        ("HEAD", "blob", "", "metadata"): (get_blob_metadata, "r"),
        ("DELETE", "blob", "", ""): (delete_blob, "d"),
    }

    def locate(self, request):
        """Find container and blob. Source: "Naming and referencing containers, blobs, and metadata"; path style as in
        "Use the Azurite emulator for local Azure Storage development".
        """
        path = request.path.lstrip("/")
        if not request.get("host").startswith(self.account + "."):
            account, _, path = path.partition("/")
            if account != self.account:
                raise StorageError(404, "ResourceNotFound", "The specified resource does not exist.")
        container, _, blob = path.partition("/")
        request.container, request.blob = unquote(container), unquote(blob)

    def answer(self, request):
        """Authorize and perform a request."""
        with self.lock:
            self.locate(request)
            level = "blob" if request.blob else "container" if request.container else "service"
            key = (request.method, level, request.param("restype"), request.param("comp"))
            operation, permissions = self.OPERATIONS.get(key, (None, ""))
            self.authorize(request, permissions)
            if operation is None:
                raise StorageError(400, "InvalidUri", f"The double has no operation {key}.")
            for name in UNSUPPORTED_HEADERS:
                if name in request.headers:
                    raise StorageError(400, "UnsupportedHeader", "One of the HTTP headers specified in the request is "
                                                                 "not supported.", extra={"HeaderName": name})
            for name in request.meta:
                if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                    raise StorageError(400, "InvalidMetadata", "The metadata specified is invalid.")
            return operation(self, request)


class Controls:
    """Fault injection and request counts, shared by all connections."""

    STATUSES = {500: "InternalError", 503: "ServerBusy", 429: "TooManyRequests"}

    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.counts = [], Counter()

    def add(self, fault):
        """Queue a fault; an empty one forgets all."""
        action = fault.get("status") or next((name for name in ("drop", "drop_after") if fault.get(name)), None)
        with self.lock:
            if not fault:
                self.faults.clear()
                return Response(204)
            if action not in (*self.STATUSES, "drop", "drop_after"):
                return Response(400)
            self.faults.append({"action": action, "left": fault.get("count", 1), "method": fault.get("method"),
                                "comp": fault.get("comp")})
        return Response(204)

    def take(self, method, comp):
        """Count a request and say which fault, if any, meets it."""
        with self.lock:
            self.counts[method, comp] += 1
            for fault in self.faults:
                if fault["left"] > 0 and fault["method"] in (None, method) and fault["comp"] in (None, comp):
                    fault["left"] -= 1
                    return fault["action"]
        return None

    def report(self):
        """The counts as JSON."""
        with self.lock:
            rows = [{"method": method, "comp": comp, "count": count} for (method, comp), count in self.counts.items()]
        return json_response(200, rows)


def json_response(status, value):
    """A JSON answer."""
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def parse_query(text):
    """Query parameters, decoded, names in lower case, each with the list of its values."""
    query = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        query.setdefault(name.lower(), []).append(value)
    return query


def imds_token(request, token):
    """Source: "How to use managed identities for Azure resources on an Azure VM to acquire an access token"."""
    if request.get("metadata").lower() != "true":
        return json_response(400, {"error": "invalid_request",
                                   "error_description": "Required metadata header not specified"})
    if request.param("api-version") != "2018-02-01" or not request.param("resource"):
        return json_response(400, {"error": "invalid_request", "error_description": "api-version or resource missing"})
    now = int(utc_now().timestamp())
    return json_response(200, {"access_token": token, "expires_in": "3599", "expires_on": str(now + 3599),
                               "not_before": str(now), "resource": request.param("resource"),
                               "token_type": "Bearer"})


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive in front of the service."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def version_string(self):
        """The Server header."""
        return "Windows-Azure-Blob/1.0 (test double)"

    def log_message(self, *arguments):
        """Be silent."""

    def parse(self):
        """The request of this moment, its body read; None when the client broke off."""
        headers, meta = {}, {}
        for name, value in self.headers.items():
            lower, value = name.lower(), value.strip()
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
            if lower.startswith("x-ms-meta-"):
                meta[name[len("x-ms-meta-"):]] = value
        path, _, query = self.path.partition("?")
        request = Request(self.command, path, parse_query(query), headers, meta, scheme=self.server.scheme,
                          client=self.client_address[0])
        length = int(headers.get("content-length", 0))
        request.body = self.rfile.read(length) if length else b""
        return request if len(request.body) == length else None

    def serve(self):
        """Answer one request."""
        path, _, query = self.path.partition("?")
        control = path in ("/__faults", "/__requests")
        fault = None
        if not control:
            fault = self.server.controls.take(self.command, parse_query(query).get("comp", [""])[0])
        request = None if fault == "drop" else self.parse()
        if request is None:
            self.close_connection = True
            return
        request_id = str(uuid.uuid4())
        try:
            response = self.control(request) if control else self.perform(request, fault)
        except StorageError as error:
            response = self.error(error, request_id)
        if fault == "drop_after":
            self.close_connection = True
            return
        self.send(request, response, request_id)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

    def control(self, request):
        """The test controls."""
        if (request.method, request.path) == ("POST", "/__faults"):
            return self.server.controls.add(json.loads(request.body or b"{}"))
        return self.server.controls.report()

    def perform(self, request, fault):
        """The service, the token endpoint, or the fault in place of them."""
        if fault in Controls.STATUSES:
            raise StorageError(fault, Controls.STATUSES[fault])
        if self.server.imds and request.path == "/metadata/identity/oauth2/token":
            return imds_token(request, self.server.service.aad_token)
        if request.method == "PUT" and "content-length" not in request.headers:
            self.close_connection = True
            raise StorageError(411, "MissingContentLengthHeader", "The Content-Length header was not specified.")
        return self.server.service.answer(request)

    def error(self, error, request_id):
        """The error body. Source: "Status and error codes", section "Error response"."""
        headers = error.headers | {"x-ms-error-code": error.code}
        if error.status == 304:
            return Response(304, headers)
        message = f"{error.message}\nRequestId:{request_id}\nTime:{utc_now().isoformat()}"
        extra = "".join(xml_text(tag, value) for tag, value in error.extra.items())
        body = f"<Error>{xml_text('Code', error.code)}{xml_text('Message', message)}{extra}</Error>"
        return xml_response(body, error.status, headers)

    def send(self, request, response, request_id):
        """Write the answer. Source: "Common REST API response headers"."""
        body = b"" if request.method == "HEAD" else response.body
        self.send_response(response.status)
        headers = {"Content-Length": str(len(body) if response.length is None else response.length),
                   "x-ms-request-id": request_id, "x-ms-version": request.get("x-ms-version", request.param("sv"))}
        if "x-ms-client-request-id" in request.headers:
            headers["x-ms-client-request-id"] = request.get("x-ms-client-request-id")
        if response.status in (204, 304):
            del headers["Content-Length"]
        for name, value in (headers | response.headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """The listening server; one thread a connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, service, imds=False, certificate=None, certificate_key=None):
        super().__init__(("127.0.0.1", port), Handler)
        self.service, self.imds, self.controls = service, imds, Controls()
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate_key)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request, client_address):
        """A client that broke off is no news; a fault of the double itself is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    """Start from the command line."""
    parser = argparse.ArgumentParser(description="Test double of Azure Blob Storage")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--account", required=True)
    parser.add_argument("--key", required=True, help="account key, Base64")
    parser.add_argument("--aad-token", help="the one access token that is accepted")
    parser.add_argument("--imds", action="store_true", help="also answer as the instance metadata service")
    parser.add_argument("--cert", help="certificate (PEM): serve https")
    parser.add_argument("--key-file", help="private key of the certificate (PEM)")
    options = parser.parse_args()
    service = BlobService(options.account, options.key, options.aad_token)
    server = Server(options.port, service, options.imds, options.cert, options.key_file)
    print("listening", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""In-memory test double of the Azure Cosmos DB SQL (core) REST API, standard library only.

Rules are taken from Microsoft's "Azure Cosmos DB: REST API Reference" (learn.microsoft.com/rest/api/cosmos-db); each
docstring names the page it follows. Requests to /__faults and /__requests are the double's own and need no token.
"""
import argparse
import base64
import binascii
import bisect
import collections
import copy
import datetime
import hashlib
import heapq
import hmac
import json
import re
import ssl
import sys
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_DOCUMENT_BYTES = 2 * 1024 * 1024
MAX_ID_BYTES = 1023
MAX_PARTITION_KEY_BYTES = 2048
MAX_PATCH_OPERATIONS = 10
DEFAULT_PAGE_ITEMS = 100
DYNAMIC_PAGE_ITEMS = 1000
DATE_WINDOW_SECONDS = 15 * 60
SYSTEM_PROPERTIES = ("_rid", "_self", "_etag", "_attachments", "_ts")
CONSISTENCY_LEVELS = ("Eventual", "ConsistentPrefix", "Session", "BoundedStaleness", "Strong")
PATCH_TYPES = ("application/json-patch+json", "application/json_patch+json")
ERROR_CODES = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
    405: "MethodNotAllowed", 409: "Conflict", 410: "Gone", 411: "LengthRequired", 412: "PreconditionFailed",
    413: "RequestEntityTooLarge", 429: "TooManyRequests", 449: "RetryWith", 503: "ServiceUnavailable",
}
GATEWAY_REFUSAL = (
    "The provided cross partition query can not be directly served by the gateway. This is a first chance (internal) "
    "exception that all newer clients will know how to handle gracefully."
)
CROSS_PARTITION_DISABLED = (
    "Cross partition query is required but disabled. Please set x-ms-documentdb-query-enablecrosspartition to true, "
    "specify x-ms-documentdb-partitionkey, or revise your query to avoid this exception."
)


class CosmosError(Exception):
    """An error answer (page "HTTP status codes for Azure Cosmos DB")."""

    def __init__(self, status, message, substatus=None, headers=None, extra=None):
        super().__init__(message)
        self.status = status
        self.body = {"code": ERROR_CODES.get(status, str(status)), "message": message, **(extra or {})}
        self.headers = dict(headers or {})
        if substatus is not None:
            self.headers["x-ms-substatus"] = str(substatus)


def dump(value):
    """Compact UTF-8 JSON; lone surrogates stay escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def parse_json(body):
    """The request body as a JSON object; 400 when it is not one."""
    def refuse(constant):
        raise ValueError(constant)
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse)
    except ValueError:
        raise CosmosError(400, "The request payload is invalid JSON.") from None
    if not isinstance(value, dict):
        raise CosmosError(400, "The request payload must be a JSON object.")
    return value


def is_true(text):
    """Boolean header values: "True" or "true"."""
    return (text or "").lower() == "true"


def sort_key(value):
    """Order of ORDER BY: undefined, null, booleans, numbers, strings (UTF-16 ordinal), the rest.

    `value` is [] for undefined or a list of the one value. Page "ORDER BY clause in Azure Cosmos DB".
    """
    if not value:
        return (0,)
    item = value[0]
    if item is None:
        return (1,)
    if isinstance(item, bool):
        return (2, item)
    if isinstance(item, (int, float)):
        return (3, item)
    if isinstance(item, str):
        return (4, item.encode("utf-16-be", "surrogatepass"))
    return (5, dump(item))


def at_path(document, path):
    """The value at a property path such as /a/b, as [value], or [] when undefined."""
    for name in path.strip("/").split("/"):
        if not isinstance(document, dict) or name not in document:
            return []
        document = document[name]
    return [document]


class Partition:
    """One logical partition: documents by id, an index by `key`, and the unique-key entries."""

    def __init__(self):
        self.documents = {}
        self.sequences = {}
        self.index = []
        self.unique = {}

    def index_entry(self, document):
        return (sort_key(at_path(document, "/key")), self.sequences[document["id"]])

    def position(self, entry):
        """First place in the index at or after `entry`."""
        return bisect.bisect_left(self.index, entry, key=lambda item: item[0])


class Container:
    """A container and its documents (page "Create a Collection")."""

    def __init__(self, database_id, rid, properties):
        self.path = urllib.parse.quote(f"dbs/{database_id}/colls/{properties['id']}")
        self.rid = rid
        self.properties = properties
        self.pk_path = properties["partitionKey"]["paths"][0]
        policy = properties.get("uniqueKeyPolicy") or {}
        self.unique_paths = [key["paths"] for key in policy.get("uniqueKeys", [])]
        self.partitions = {}
        self.lsn = 0

    def partition(self, pk_text):
        return self.partitions.setdefault(pk_text, Partition())

    def unique_entries(self, document):
        return [(number, dump([at_path(document, path) for path in paths]))
                for number, paths in enumerate(self.unique_paths)]

    def put(self, partition, document):
        """Store a new version of a document; 409 when it breaks a unique key."""
        doc_id = document["id"]
        entries = self.unique_entries(document)
        if any(partition.unique.get(entry, doc_id) != doc_id for entry in entries):
            raise CosmosError(409, "Unique index constraint violation.")
        sequence = partition.sequences.get(doc_id, self.lsn + 1)
        self.remove(partition, doc_id)
        partition.documents[doc_id] = document
        partition.sequences[doc_id] = sequence
        partition.unique.update(dict.fromkeys(entries, doc_id))
        entry = partition.index_entry(document)
        partition.index.insert(partition.position(entry), (entry, doc_id))

    def remove(self, partition, doc_id):
        """Forget a document if it is there, and count the write."""
        self.lsn += 1
        document = partition.documents.get(doc_id)
        if document is None:
            return
        del partition.index[partition.position(partition.index_entry(document))]
        for entry in self.unique_entries(document):
            del partition.unique[entry]
        del partition.documents[doc_id]
        del partition.sequences[doc_id]


def _sql(pattern):
    """Compile a query form: capital words are case-insensitive keywords, A is the alias."""
    pattern = pattern.replace("A.", r"(?P=alias)\.").replace("FROM A", r"FROM (?P<alias>[A-Za-z_]\w*)")
    pattern = re.sub(r"\b[A-Z]{2,}\b", lambda word: f"(?i:{word.group()})", pattern)
    return re.compile(pattern + r"\Z")


FEED_QUERY = _sql(
    r"SELECT \* FROM A(?P<order>(?: WHERE A.key ?>= ?@(?P<low>\w+)(?: AND A.key ?< ?@(?P<high>\w+))?)? ORDER BY A.key)?"
)
COUNT_QUERY = _sql(r"SELECT VALUE COUNT ?\( ?1 ?\) FROM A")
DISTINCT_QUERY = _sql(r"SELECT DISTINCT VALUE c\.partitionKey FROM A")


class Query:
    """A query of one of the supported forms; any other text is 400 (page "Query Documents")."""

    def __init__(self, body):
        text = body.get("query")
        if not isinstance(text, str):
            raise CosmosError(400, "The query text is missing.")
        self.text = " ".join(text.split())
        self.feed = FEED_QUERY.match(self.text)
        self.count = COUNT_QUERY.match(self.text)
        self.distinct = DISTINCT_QUERY.match(self.text)
        if not (self.feed or self.count or self.distinct and self.distinct["alias"] == "c"):
            raise CosmosError(400, f"Syntax error or a query the double does not know: {self.text}")
        parameters = body.get("parameters") or []
        if not all(isinstance(item, dict) and "name" in item and "value" in item for item in parameters):
            raise CosmosError(400, "Every parameter needs a name and a value.")
        self.parameters = {item["name"]: item["value"] for item in parameters}
        self.ordered = bool(self.feed and self.feed["order"])
        self.low = self._bound("low")
        self.high = self._bound("high")

    def _bound(self, group):
        """The value of a bound as a list of one, or [] when the query has no such bound."""
        name = self.feed and self.feed[group]
        if not name:
            return []
        if "@" + name not in self.parameters:
            raise CosmosError(400, f"The parameter @{name} is not given.")
        return [self.parameters["@" + name]]

    @property
    def served_by_gateway(self):
        """Only filters and projections cross partitions in the gateway.

        Page "Querying Azure Cosmos DB resources using the REST API", queries that cannot be served by gateway.
        """
        return bool(self.feed) and not self.ordered

    def plan(self):
        """A query plan for the one physical partition: the query itself, over the whole key range."""
        return {
            "partitionedQueryExecutionInfoVersion": 2,
            "queryInfo": {
                "distinctType": "None", "top": None, "offset": None, "limit": None, "orderBy": [],
                "orderByExpressions": [], "groupByExpressions": [], "groupByAliases": [], "aggregates": [],
                "groupByAliasToAggregateType": {}, "rewrittenQuery": "", "hasNonStreamingOrderBy": False,
                "hasSelectValue": not self.feed,
            },
            "queryRanges": [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}],
        }

    def rows(self, container, partitions, after):
        """Yield (value, sequence, output) past the position `after`, in an order that a position can resume."""
        if self.count:
            yield [], 0, sum(len(partition.documents) for partition in partitions)
        elif self.distinct:
            values = {}
            for partition in partitions:
                for document in partition.documents.values():
                    value = at_path(document, container.pk_path)
                    if value:
                        values[sort_key(value)] = value
            for order in sorted(values):
                if after is None or order > sort_key(after[0]):
                    yield values[order], 0, values[order][0]
        elif self.ordered:
            yield from self._ordered_rows(partitions, after)
        else:
            found = heapq.merge(*([(partition.sequences[doc_id], doc_id, partition) for doc_id in partition.documents]
                                  for partition in partitions), key=lambda item: item[0])
            for sequence, doc_id, partition in found:
                if after is None or sequence > after[1]:
                    yield [], sequence, partition.documents[doc_id]

    def _ordered_rows(self, partitions, after):
        start = (sort_key(self.low), 0) if self.low else ((), 0)
        if after is not None:
            start = max(start, (sort_key(after[0]), after[1] + 1))

        def walk(partition):
            for place in range(partition.position(start), len(partition.index)):
                entry, doc_id = partition.index[place]
                yield entry, partition.documents[doc_id]

        for (order, sequence), document in heapq.merge(*map(walk, partitions), key=lambda item: item[0]):
            if self.low and order[0] != sort_key(self.low)[0]:
                return
            if self.high and (order[0] != sort_key(self.high)[0] or order >= sort_key(self.high)):
                return
            yield at_path(document, "/key"), sequence, document


def apply_patch(document, operation, pk_path):
    """Apply one operation to the document in place (pages "Patch Document", "Partial document update")."""
    if not isinstance(operation, dict):
        raise CosmosError(400, "A patch operation must be a JSON object.")
    name, path = operation.get("op"), operation.get("path")
    if name not in ("add", "set", "replace", "remove"):
        raise CosmosError(400, f"The patch operation {name!r} is not supported.")
    if not isinstance(path, str) or not path.startswith("/") or path == "/":
        raise CosmosError(400, f"The patch path {path!r} is invalid.")
    if name != "remove" and "value" not in operation:
        raise CosmosError(400, f"The patch operation {name} needs a value.")
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    if parts[0] == "id" or parts[0] in SYSTEM_PROPERTIES or path == pk_path:
        raise CosmosError(400, f"The property {path} can not be patched.")
    parent = document
    for part in parts[:-1]:
        if isinstance(parent, list) and part.isdigit() and int(part) < len(parent):
            parent = parent[int(part)]
        elif isinstance(parent, dict) and part in parent:
            parent = parent[part]
        else:
            raise CosmosError(400, f"The patch path {path} does not exist.")
    if isinstance(parent, dict):
        patch_object(parent, parts[-1], name, operation)
    elif isinstance(parent, list):
        patch_array(parent, parts[-1], name, operation)
    else:
        raise CosmosError(400, f"The patch path {path} does not exist.")


def patch_object(parent, key, name, operation):
    """add and set write the member; replace and remove need it to be there."""
    if name in ("replace", "remove") and key not in parent:
        raise CosmosError(400, f"For {name} the path {operation['path']} must exist.")
    if name == "remove":
        del parent[key]
    else:
        parent[key] = operation["value"]


def patch_array(parent, key, name, operation):
    """add inserts (or appends at "-" or the length); the others need an existing index."""
    place = len(parent) if key == "-" else int(key) if key.isdigit() else -1
    if place < 0 or place > len(parent) or (place == len(parent) and name != "add"):
        raise CosmosError(400, f"The array index of {operation['path']} is out of bounds.")
    if name == "add":
        parent.insert(place, operation["value"])
    elif name == "remove":
        del parent[place]
    else:
        parent[place] = operation["value"]


class Resource:
    """What a request path names: its kind, and the type and link that the signature covers."""

    def __init__(self, raw_path):
        self.path = urllib.parse.urlsplit(raw_path).path
        trimmed = self.path.strip("/")
        parts = [urllib.parse.unquote(part) for part in trimmed.split("/")] if trimmed else []
        names, self.ids = parts[0::2], parts[1::2]
        self.known = names in (["dbs", "colls", "docs"][:len(names)], ["dbs", "colls", "pkranges"]) and all(self.ids)
        self.type = names[-1] if names else ""
        self.is_feed = len(names) > len(self.ids)
        self.link = "/".join(parts[:-1] if self.is_feed else parts)
        self.kind = self.type or "account"
        if self.kind in ("dbs", "colls", "docs") and not self.is_feed:
            self.kind = self.type[:-1]

    def request_kind(self, headers):
        """The kind that /__requests counts by and that a fault may be limited to."""
        if not self.known:
            return "other"
        if self.kind == "docs" and is_true(headers.get("x-ms-cosmos-is-query-plan-request")):
            return "query_plan"
        if self.kind == "docs" and is_true(headers.get("x-ms-documentdb-isquery")):
            return "query"
        if self.kind == "docs" and is_true(headers.get("x-ms-documentdb-is-upsert")):
            return "upsert"
        return self.kind


class Faults:
    """Faults waiting: {"status", "count", "retry_after_ms", "method", "kind"}; the first that fits a request acts."""

    def __init__(self, faults=()):
        self.lock = threading.Lock()
        self.waiting = []
        for fault in faults:
            self.add(fault)

    def add(self, fault):
        status = fault.get("status")
        if status not in ("drop", "drop_after") and not (isinstance(status, int) and 400 <= status <= 599):
            raise CosmosError(400, "status must be 400..599, drop or drop_after")
        with self.lock:
            self.waiting.append({"count": 1, **fault})

    def clear(self):
        with self.lock:
            self.waiting.clear()

    def take(self, method, kind):
        with self.lock:
            for fault in self.waiting:
                if fault.get("method", method) == method and fault.get("kind", kind) == kind:
                    fault["count"] -= 1
                    if fault["count"] <= 0:
                        self.waiting.remove(fault)
                    return fault
        return None


class Account:
    """The database account: authentication and every operation, under one lock."""

    def __init__(self, options):
        self.options = options
        self.key = base64.b64decode(options.key, validate=True)
        self.lock = threading.RLock()
        self.databases = {}
        self.containers = {}
        self.counter = 0
        self.faults = Faults(json.load(open(options.faults, encoding="utf-8")) if options.faults else ())
        self.requests = collections.Counter()

    def system_properties(self, rid, self_link):
        """The properties the service adds; a new _etag on every write (page "Azure Cosmos DB resources")."""
        self.counter += 1
        now = int(time.time())
        return {"_rid": rid, "_self": self_link, "_etag": f'"{self.counter:08x}-0000-0100-0000-{now:08x}0000"',
                "_ts": now}

    def new_rid(self, parent, size):
        """A resource id: the parent's bytes and `size` bytes more, base64 with - for /."""
        self.counter += 1
        raw = base64.b64decode(parent.replace("-", "/")) + self.counter.to_bytes(size, "big")
        return base64.b64encode(raw).decode().replace("/", "-")

    def authenticate(self, method, resource, headers):
        """Page "Access control in the Azure Cosmos DB SQL API"; required headers of "Common ... request headers"."""
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", headers.get("x-ms-version") or ""):
            raise CosmosError(400, "The required header x-ms-version is missing or invalid.")
        date = headers.get("x-ms-date")
        encoded = headers.get("authorization")
        if not date or not encoded:
            raise CosmosError(401, "Required headers authorization and x-ms-date must be given.")
        token = re.fullmatch(r"type=(master|aad)&ver=1\.0&sig=(.+)", urllib.parse.unquote(encoded))
        if not token or (token[1] == "master" and "=" in encoded):
            raise CosmosError(401, "The authorization header is not of the form type%3D..%26ver%3D1.0%26sig%3D...")
        if token[1] == "aad":
            expected = self.options.aad_token or ""
            accepted = bool(expected) and hmac.compare_digest(token[2].encode(), expected.encode())
        else:
            text = f"{method.lower()}\n{resource.type}\n{resource.link}\n{date.lower()}\n\n"
            signature = base64.b64encode(hmac.new(self.key, text.encode("utf-8"), hashlib.sha256).digest())
            accepted = hmac.compare_digest(token[2].encode(), signature)
        if not accepted:
            raise CosmosError(401, "The input authorization token can't serve the request. The wrong key is being "
                                   "used or the expected payload is not built as per the protocol.")
        try:
            sent = datetime.datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")
        except ValueError:
            raise CosmosError(401, "x-ms-date is not an RFC 1123 date.") from None
        skew = abs(sent.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time())
        if skew > DATE_WINDOW_SECONDS:
            raise CosmosError(403, "The authorization token is not valid at the current time.")
        if token[1] == "aad" and method != "GET" and resource.type in ("dbs", "colls") and not self.options.aad_admin:
            raise CosmosError(403, "Request blocked by Auth: a data plane role can not manage databases or containers.",
                              substatus=5300)

    def handle(self, method, resource, kind, headers, body):
        """Answer an authenticated request: (status, body or None, headers)."""
        level = self.check_consistency(headers)
        action = getattr(self, f"{method.lower()}_{kind}", None)
        if action is None:
            status = 405 if resource.known else 404
            raise CosmosError(status, f"{method} {resource.path} is not an operation.")
        with self.lock:
            status, answer, extra = action(resource, headers, body)
        return status, answer, {**level, **extra}

    def check_consistency(self, headers):
        """The override must be known and no stronger than the account's (page "Common ... request headers")."""
        level = headers.get("x-ms-consistency-level")
        if level is None:
            return {}
        name = {"Bounded": "BoundedStaleness"}.get(level, level)
        if name not in CONSISTENCY_LEVELS:
            raise CosmosError(400, f"The consistency level {level} is unknown.")
        if CONSISTENCY_LEVELS.index(name) > CONSISTENCY_LEVELS.index(self.options.consistency):
            raise CosmosError(400, f"The consistency level {level} is stronger than the account's.")
        return {"x-ms-consistency-level": level}

    def get_account(self, _resource, headers, _body):
        """Page "Get Database Account"."""
        scheme = "https" if self.options.cert else "http"
        endpoint = f"{scheme}://{headers.get('host')}/"
        location = [{"name": "Test Region", "databaseAccountEndpoint": endpoint}]
        return 200, {
            "_self": "", "id": "double", "_rid": "double", "media": "//media/", "addresses": "//addresses/",
            "_dbs": "//dbs/", "writableLocations": location, "readableLocations": location,
            "enableMultipleWriteLocations": False,
            "userConsistencyPolicy": {"defaultConsistencyLevel": self.options.consistency},
            "userReplicationPolicy": {"minReplicaSetSize": 1, "maxReplicasetSize": 4},
            "systemReplicationPolicy": {"minReplicaSetSize": 1, "maxReplicasetSize": 4},
            "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
        }, {}

    @staticmethod
    def named(body, headers):
        """A database or container body: JSON with a valid id."""
        require_content_type(headers, ("application/json",))
        properties = parse_json(body)
        check_id(properties)
        return properties

    def post_dbs(self, _resource, headers, body):
        """Page "Create a Database"."""
        properties = self.named(body, headers)
        name = properties["id"]
        if name in self.databases:
            raise CosmosError(409, "Resource with specified id, name, or unique index already exists.")
        rid = self.new_rid("", 4)
        self.databases[name] = {"id": name, **self.system_properties(rid, f"dbs/{rid}/"),
                                "_colls": "colls/", "_users": "users/"}
        return 201, self.databases[name], {"etag": self.databases[name]["_etag"]}

    def database(self, resource):
        if resource.ids[0] not in self.databases:
            raise CosmosError(404, "Resource Not Found: the database does not exist.")
        return self.databases[resource.ids[0]]

    def get_db(self, resource, _headers, _body):
        """Page "Get a Database"."""
        database = self.database(resource)
        return 200, database, {"etag": database["_etag"]}

    def post_colls(self, resource, headers, body):
        """Page "Create a Collection"."""
        database = self.database(resource)
        properties = self.named(body, headers)
        paths = (properties.get("partitionKey") or {}).get("paths")
        if not isinstance(paths, list) or len(paths) != 1 or not re.fullmatch(r"(/[^/]+)+", str(paths[0])):
            raise CosmosError(400, "partitionKey.paths must hold one path.")
        key = (database["id"], properties["id"])
        if key in self.containers:
            raise CosmosError(409, "Resource with specified id, name, or unique index already exists.")
        rid = self.new_rid(database["_rid"], 4)
        default_policy = {"indexingMode": "consistent", "automatic": True, "includedPaths": [{"path": "/*"}],
                          "excludedPaths": [{"path": '/"_etag"/?'}]}
        properties = {"indexingPolicy": default_policy, **properties,
                      **self.system_properties(rid, f"{database['_self']}colls/{rid}/"), "_docs": "docs/",
                      "_sprocs": "sprocs/", "_triggers": "triggers/", "_udfs": "udfs/", "_conflicts": "conflicts/"}
        container = self.containers[key] = Container(database["id"], rid, properties)
        return 201, properties, container_headers(container, properties["_etag"])

    def container(self, resource):
        self.database(resource)
        found = self.containers.get(tuple(resource.ids[:2]))
        if found is None:
            raise CosmosError(404, "Resource Not Found: the container does not exist.", substatus=1003)
        return found

    def get_coll(self, resource, _headers, _body):
        """Page "Get a Collection"."""
        container = self.container(resource)
        return 200, container.properties, container_headers(container, container.properties["_etag"])

    def get_pkranges(self, resource, headers, _body):
        """Page "Get Partition Key Ranges": one physical partition; 304 to a reader that has it already."""
        container = self.container(resource)
        etag = '"1"'
        if headers.get("if-none-match") == etag:
            return 304, None, container_headers(container, etag)
        rid = base64.b64encode(base64.b64decode(container.rid.replace("-", "/")) + bytes(8)).decode()
        pk_range = {"_rid": rid, "id": "0", "_etag": etag, "minInclusive": "", "maxExclusive": "FF", "ridPrefix": 0,
                    "_self": f"{container.properties['_self']}pkranges/{rid}/", "throughputFraction": 1,
                    "status": "online", "parents": [], "_ts": container.properties["_ts"]}
        return (200, {"_rid": container.rid, "PartitionKeyRanges": [pk_range], "_count": 1},
                {**container_headers(container, etag), "x-ms-item-count": "1"})

    def read_document(self, body, container, headers):
        """A document body and its partition, checked against the headers (page "Create a Document")."""
        require_content_type(headers, ("application/json",))
        check_size(body)
        document = parse_json(body)
        check_id(document)
        pk_text = partition_key(headers)
        if dump(at_path(document, container.pk_path) or [{}]) != pk_text:
            raise CosmosError(400, "PartitionKey extracted from document doesn't match the one specified in the "
                                   "header.", substatus=1001)
        return document, container.partition(pk_text)

    def store(self, container, partition, document, headers, status):
        """Write a document version and answer it, without a body for Prefer: return=minimal."""
        previous = partition.documents.get(document["id"])
        rid = previous["_rid"] if previous else self.new_rid(container.rid, 8)
        kept = {name: value for name, value in document.items() if name not in SYSTEM_PROPERTIES}
        stored = {**kept, **self.system_properties(rid, f"{container.properties['_self']}docs/{rid}/"),
                  "_attachments": "attachments/"}
        container.put(partition, stored)
        minimal = headers.get("prefer") == "return=minimal"
        return status, None if minimal else stored, container_headers(container, stored["_etag"], charge="5.71")

    def post_docs(self, resource, headers, body):
        """Page "Create a Document"."""
        container = self.container(resource)
        document, partition = self.read_document(body, container, headers)
        if document["id"] in partition.documents:
            raise CosmosError(409, "Resource with specified id or name already exists.")
        return self.store(container, partition, document, headers, 201)

    def post_upsert(self, resource, headers, body):
        """Page "Create a Document", upsert.

        If-Match is looked at only when the document exists, else it is created: azure-cosmos-dotnet-v3 issue 1698.
        """
        container = self.container(resource)
        document, partition = self.read_document(body, container, headers)
        existing = partition.documents.get(document["id"])
        if existing is None:
            return self.store(container, partition, document, headers, 201)
        check_if_match(headers, existing)
        return self.store(container, partition, document, headers, 200)

    def existing_document(self, resource, headers):
        container = self.container(resource)
        pk_text = partition_key(headers)
        partition = container.partitions.get(pk_text)
        if partition is None or resource.ids[2] not in partition.documents:
            raise CosmosError(404, "Entity with the specified id does not exist in the system.")
        return container, partition, partition.documents[resource.ids[2]]

    def get_doc(self, resource, headers, _body):
        """Page "Get a Document"."""
        container, _, document = self.existing_document(resource, headers)
        answer = container_headers(container, document["_etag"])
        if headers.get("if-none-match") == document["_etag"]:
            return 304, None, answer
        return 200, document, answer

    def put_doc(self, resource, headers, body):
        """Page "Replace a Document"; a renamed id is refused."""
        container, partition, existing = self.existing_document(resource, headers)
        document, _ = self.read_document(body, container, headers)
        if document["id"] != existing["id"]:
            raise CosmosError(400, "The id of the document differs from the one in the request path.")
        check_if_match(headers, existing)
        return self.store(container, partition, document, headers, 200)

    def patch_doc(self, resource, headers, body):
        """Page "Patch Document"; all operations apply or none does."""
        require_content_type(headers, PATCH_TYPES)
        container, partition, existing = self.existing_document(resource, headers)
        check_if_match(headers, existing)
        patch = parse_json(body)
        operations = patch.get("operations")
        if "condition" in patch:
            raise CosmosError(400, "The double does not know patch conditions.")
        if not isinstance(operations, list) or not 1 <= len(operations) <= MAX_PATCH_OPERATIONS:
            raise CosmosError(400, f"operations must hold 1 to {MAX_PATCH_OPERATIONS} operations.")
        document = copy.deepcopy(existing)
        for operation in operations:
            apply_patch(document, operation, container.pk_path)
        check_size(dump(document))
        return self.store(container, partition, document, headers, 200)

    def delete_doc(self, resource, headers, _body):
        """Page "Delete a Document"."""
        container, partition, existing = self.existing_document(resource, headers)
        check_if_match(headers, existing)
        container.remove(partition, existing["id"])
        return 204, None, container_headers(container, None, charge="5.71")

    def post_query_plan(self, resource, _headers, body):
        """What SDKs ask for when the gateway refuses a query; not on Microsoft's pages."""
        self.container(resource)
        return 200, Query(parse_json(body)).plan(), {}

    def post_query(self, resource, headers, body):
        """Pages "Query Documents" and "Querying Azure Cosmos DB resources using the REST API"."""
        require_content_type(headers, ("application/query+json",))
        container = self.container(resource)
        query = Query(parse_json(body))
        partitions, scope = self.query_scope(container, query, headers)
        limit = page_items(headers)
        identity = hashlib.sha256(dump([container.rid, query.text, query.parameters, scope])).hexdigest()[:16]
        number, after = read_continuation(headers.get("x-ms-continuation"), identity)
        empty = self.options.empty_pages and number % 3 == 1
        rows = [] if empty else query.rows(container, partitions, after)
        found, size, more = [], 0, empty
        for value, sequence, output in rows:
            size += len(dump(output))
            if len(found) == limit or (found and size > self.options.page_bytes):
                more = True
                break
            found.append(output)
            after = (value, sequence)
        more = more or (self.options.empty_pages and len(found) == limit)
        answer = {**container_headers(container, None, charge="2.89"), "x-ms-item-count": str(len(found))}
        if more:
            token = dump({"query": identity, "page": number + 1, "after": after})
            answer["x-ms-continuation"] = base64.b64encode(token).decode()
        return 200, {"_rid": container.rid, "Documents": found, "_count": len(found)}, answer

    def query_scope(self, container, query, headers):
        """The partitions a query reads, and a text for them."""
        if headers.get("x-ms-documentdb-partitionkey") is not None:
            pk_text = partition_key(headers)
            found = container.partitions.get(pk_text)
            return [found] if found else [], pk_text.decode()
        range_id = headers.get("x-ms-documentdb-partitionkeyrangeid")
        if range_id is None:
            if not is_true(headers.get("x-ms-documentdb-query-enablecrosspartition")):
                raise CosmosError(400, CROSS_PARTITION_DISABLED)
            if not (query.served_by_gateway or self.options.serve_cross_partition):
                raise CosmosError(400, GATEWAY_REFUSAL, substatus=1004,
                                  extra={"additionalErrorInfo": dump(query.plan()).decode()})
        elif range_id.split(",")[-1] != "0":
            raise CosmosError(410, "The requested partition key range is gone.", substatus=1002)
        return list(container.partitions.values()), "*"


def require_content_type(headers, allowed):
    """The exact Content-Type, without a charset (page "Query Documents", Important)."""
    if headers.get("content-type") not in allowed:
        raise CosmosError(400, f"Content-Type must be {' or '.join(allowed)}.")


def check_id(properties):
    """An id is a string of 1 to 1023 bytes without / \\ ? # (page "Azure Cosmos DB service quotas")."""
    name = properties.get("id")
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= MAX_ID_BYTES:
        raise CosmosError(400, "The input content is invalid because the required property id is missing or invalid.")
    if re.search(r"[/\\?#]", name):
        raise CosmosError(400, "The id has one of the illegal characters / \\ ? #.")


def check_size(body):
    """413 above 2 MB (page "HTTP status codes for Azure Cosmos DB")."""
    if len(body) > MAX_DOCUMENT_BYTES:
        raise CosmosError(413, "Request size is too large")


def check_if_match(headers, document):
    """If-Match is the etag with its quotes, or * (page "Common Azure Cosmos DB REST request headers")."""
    wanted = headers.get("if-match")
    if wanted not in (None, "*", document["_etag"]):
        raise CosmosError(412, "One of the specified pre-condition is not met.")


def partition_key(headers):
    """The header x-ms-documentdb-partitionkey: JSON text of an array of one value, as canonical bytes."""
    text = headers.get("x-ms-documentdb-partitionkey")
    if text is None:
        raise CosmosError(400, "PartitionKey value must be supplied for this operation.", substatus=1001)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not text.isascii() or not isinstance(value, list) or len(value) != 1 or isinstance(value[0], list):
        raise CosmosError(400, "Partition key is invalid: it must be an ASCII JSON array of one value.")
    canonical = dump(value)
    if len(canonical) > MAX_PARTITION_KEY_BYTES:
        raise CosmosError(400, "Partition key value is too long.")
    return canonical


def page_items(headers):
    """x-ms-max-item-count: a positive number, or -1 for the service to choose (page "Query Documents")."""
    text = headers.get("x-ms-max-item-count", str(DEFAULT_PAGE_ITEMS))
    if not re.fullmatch(r"-1|[1-9]\d*", text):
        raise CosmosError(400, "x-ms-max-item-count is invalid.")
    return DYNAMIC_PAGE_ITEMS if text == "-1" else int(text)


def read_continuation(text, identity):
    """The page number and position of a continuation; 400 when it is not of this query."""
    if not text:
        return 0, None
    try:
        token = json.loads(base64.b64decode(text, validate=True))
        query, number, after = token["query"], token["page"], token["after"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        query = None
    if query != identity:
        raise CosmosError(400, "Invalid continuation token.")
    return number, after


def container_headers(container, etag, charge="1"):
    """Page "Common Azure Cosmos DB REST response headers"."""
    headers = {"x-ms-session-token": f"0:-1#{container.lsn}", "x-ms-alt-content-path": container.path,
               "x-ms-content-path": container.rid, "x-ms-documentdb-partitionkeyrangeid": "0",
               "x-ms-request-charge": charge}
    if etag is not None:
        headers["etag"] = etag
    return headers


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    server_version = "cosmos-double"
    disable_nagle_algorithm = True
    wbufsize = -1

    def serve(self):
        account = self.server.account
        resource = Resource(self.path)
        body = b""
        try:
            body = self.read_body()
            if resource.path in ("/__faults", "/__requests"):
                self.answer(*self.control(account, resource.path, body))
                return
            kind = resource.request_kind(self.headers)
            with account.lock:
                account.requests[self.command, kind] += 1
            account.authenticate(self.command, resource, self.headers)
            fault = account.faults.take(self.command, kind) or {}
            if fault.get("status") == "drop":
                self.close_connection = True
                return
            if isinstance(fault.get("status"), int):
                wait = {"x-ms-retry-after-ms": str(fault["retry_after_ms"])} if "retry_after_ms" in fault else {}
                raise CosmosError(fault["status"], "Injected fault.", headers=wait,
                                  substatus=3200 if fault["status"] == 429 else None)
            answer = account.handle(self.command, resource, kind, self.headers, body)
            if fault.get("status") == "drop_after":
                self.close_connection = True
                return
            self.answer(*answer)
        except CosmosError as error:
            self.answer(error.status, error.body, error.headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def read_body(self):
        """The body by its Content-Length; the connection ends when its length is unknown."""
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdigit():
            self.close_connection = True
            raise CosmosError(411, "Content-Length is required.")
        return self.rfile.read(int(length))

    def control(self, account, path, body):
        """The double's own paths: POST, GET, DELETE /__faults and GET /__requests."""
        if path == "/__requests" and self.command == "GET":
            with account.lock:
                counts = sorted(account.requests.items())
            return 200, [{"method": method, "kind": kind, "count": count} for (method, kind), count in counts], {}
        if path == "/__faults" and self.command in ("GET", "POST", "DELETE"):
            if self.command == "POST":
                account.faults.add(parse_json(body))
            if self.command == "DELETE":
                account.faults.clear()
            return 200, account.faults.waiting, {}
        raise CosmosError(405, "Not an operation of the double.")

    def answer(self, status, body, headers):
        """Send one answer with the common headers (page "Common Azure Cosmos DB REST response headers")."""
        payload = b"" if body is None else dump(body)
        common = {"x-ms-activity-id": self.headers.get("x-ms-activity-id") or str(uuid.uuid4()),
                  "x-ms-request-charge": "1", "x-ms-gatewayversion": "version=2.0.0", "cache-control": "no-store"}
        self.send_response(status)
        for name, value in {**common, **headers}.items():
            self.send_header(name, value)
        if payload:
            self.send_header("Content-Type", "application/json")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Quiet."""


class Server(ThreadingHTTPServer):
    """A server for many short test connections."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self, port, account):
        super().__init__(("127.0.0.1", port), Handler)
        self.account = account

    def handle_error(self, request, client_address):
        """A client that goes away is no error of the double."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--key", required=True, help="the account's master key, base64")
    parser.add_argument("--aad-token", help="accept this Microsoft Entra ID token")
    parser.add_argument("--aad-admin", action="store_true", help="let the token create databases and containers")
    parser.add_argument("--cert", help="certificate file (PEM): serve https")
    parser.add_argument("--cert-key", help="private key file (PEM) when it is not in --cert")
    parser.add_argument("--page-bytes", type=int, default=4 * 1024 * 1024, help="most bytes of documents in a page")
    parser.add_argument("--empty-pages", action="store_true", help="give an empty page now and then")
    parser.add_argument("--serve-cross-partition", action="store_true",
                        help="answer ORDER BY, COUNT and DISTINCT across partitions, which the real gateway refuses")
    parser.add_argument("--consistency", choices=CONSISTENCY_LEVELS, default="Strong", help="the account's level")
    parser.add_argument("--faults", help="JSON file: a list of faults to begin with")
    return parser.parse_args(arguments)


def main():
    options = parse_arguments()
    server = Server(options.port, Account(options))
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.cert_key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(f"listening {server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

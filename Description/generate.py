#!/usr/bin/env python3
"""Makes of the API's description what the server is compiled with, and says whether that is up to date.

  generate.py           writes the Swift files
  generate.py --check   says which of them are not as they would be written; exit code 1 if any
  generate.py --take F  takes over a description of lakeFS: lakefs.yml becomes its facts, without its prose
  generate.py --differs F  says whether it would change anything; exit code 1 if so

lakefs.yml has lakeFS's operations and messages, lakefuse.yml what is here beside them. Of both come
  Sources/LakeAPI/Messages/API*.swift                  the messages, and what must hold of those that are sent to us
  Sources/LakeAPI/Messages/Description.swift           all of it as one text, for /openapi.json
  Sources/LakeLocalServer/REST/OperationParameters.swift  what the operations take in their queries
"""
import http
import json
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
MESSAGES = ROOT / "Sources/LakeAPI/Messages"
HEADER = "// swift-format-ignore-file\n// Made by Description/generate.py of what lies beside it: not to be changed by hand.\n\n"
PROSE = {"description", "summary", "example", "examples", "externalDocs", "contact", "license", "termsOfService"}
# Files by the first letters of their messages: none is long.
PARTS = ("AB", "C", "DEFGHIJKL", "MNO", "PQ", "RS", "TUVWXYZ")
# Messages under other doors' rules, said there and not here: names (Versioning's Names), ranges of bytes (ByteRange).
PATTERNS = {("RepositoryCreation", "name"), ("RepositoryCreation", "storage_namespace"), ("CopyPartSource", "range")}
KEYWORDS = {"class", "default", "extension", "import", "in", "is", "protocol", "repeat", "return", "self", "struct", "where"}


def facts(node, is_named=False):
    """A description without what is said for people."""
    if isinstance(node, list):
        return [facts(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Names of properties and messages are none of the description's own words.
    return {key: facts(value, key in ("properties", "schemas")) for key, value in node.items() if is_named or (key not in PROSE and not str(key).startswith("x-"))}


def take(path):
    description = facts(yaml.safe_load(pathlib.Path(path).read_text()))
    for item in description["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                operation["responses"] = {str(status): answer for status, answer in operation["responses"].items()}
    text = yaml.safe_dump(description, sort_keys=False, width=120, allow_unicode=True)
    return "# The facts of lakeFS's public API description (Apache-2.0): generate.py --take.\n" + text


def load():
    """Both descriptions as one."""
    lakefs = yaml.safe_load((HERE / "lakefs.yml").read_text())
    ours = yaml.safe_load((HERE / "lakefuse.yml").read_text())
    for path, item in ours["paths"].items():
        assert path not in lakefs["paths"], path
        lakefs["paths"][path] = item
    for name, schema in ours["components"]["schemas"].items():
        assert name not in lakefs["components"]["schemas"], name
        lakefs["components"]["schemas"][name] = schema
    lakefs["security"] = [entry for entry in lakefs["security"] if not {"oidc_auth", "saml_auth"} & set(entry)]
    for name in ("oidc_auth", "saml_auth"):
        del lakefs["components"]["securitySchemes"][name]
    # OpenAPI wants a word for each answer: the status's own.
    def name_answers(answers, status=None):
        for key, answer in answers.items():
            if "$ref" not in answer:
                code = str(key) if status is None else status
                answer["description"] = http.HTTPStatus(int(code)).phrase if code.isdigit() else "error"
                if "headers" in answer:
                    for header in answer["headers"].values():
                        header.setdefault("schema", {"type": "string"})
    for item in lakefs["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                name_answers(operation["responses"])
    name_answers(lakefs["components"]["responses"], "default")
    return lakefs


def camel(name):
    first, *rest = name.split("_")
    return (first.lower() if first.isupper() else first) + "".join(word[:1].upper() + word[1:] for word in rest)


def escaped(name):
    return f"`{name}`" if name in KEYWORDS else name


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Schemas:
    """Messages as Swift types, called as the description calls them, within the enumeration `API`."""

    def __init__(self, description):
        self.schemas = schemas = description["components"]["schemas"]
        self.sent = set()
        for _, _, operation, _ in operations(description):
            self.reach(operation.get("requestBody"))
        self.checked = set()
        # What holds of a message holds of those that have it: until no more are found.
        while True:
            found = {name for name in schemas if self.checks(name)}
            if found == self.checked:
                break
            self.checked = found

    def reach(self, node):
        """Notes the messages that are sent to us, and those within them."""
        if isinstance(node, list):
            for item in node:
                self.reach(item)
        elif isinstance(node, dict):
            if "$ref" in node and reference(node) not in self.sent:
                self.sent.add(reference(node))
                self.reach(self.schemas[reference(node)])
            for item in node.values():
                self.reach(item)

    def merged(self, schema):
        """A schema with what it takes from others."""
        if "allOf" not in schema:
            return schema
        made = {"type": "object", "properties": {}, "required": []}
        for part in schema["allOf"]:
            part = self.merged(self.schemas[reference(part)] if "$ref" in part else part)
            made["properties"].update(part.get("properties", {}))
            made["required"] += part.get("required", [])
        return made

    def type(self, schema):
        if "$ref" in schema:
            return reference(schema)
        kind = schema.get("type")
        if kind == "array":
            return f"[{self.type(schema['items'])}]"
        if kind == "object":
            if "properties" in schema:
                raise ValueError(f"a message without a name: {schema}")
            values = schema.get("additionalProperties")
            return f"[String: {self.type(values) if isinstance(values, dict) else 'JSONValue'}]"
        return {"string": "String", "boolean": "Bool", "number": "Double", "integer": "Int64" if schema.get("format") == "int64" else "Int"}[kind]

    def properties(self, name):
        schema = self.merged(self.schemas[name])
        required = set(schema.get("required", []))
        return [(key, value, key in required) for key, value in schema.get("properties", {}).items()]

    def list_item(self, name):
        """The message of which this one is a page, if it is one."""
        properties = dict((key, value) for key, value, _ in self.properties(name))
        if set(properties) == {"pagination", "results"}:
            return self.type(properties["results"]["items"])
        return None

    def declaration(self, name):
        schema = self.merged(self.schemas[name])
        item = self.list_item(name)
        if item:
            return f"    package typealias {name} = ResultList<{item}>\n"
        if schema.get("type") == "array" or (schema.get("type", "object") == "object" and "properties" not in schema and "additionalProperties" in schema):
            return f"    package typealias {name} = {self.type(schema)}\n"
        properties = self.properties(name)
        lines = [f"    package struct {name}: Message {{"]
        if properties:
            cases = [f'case {escaped(camel(key))}' + (f' = "{key}"' if camel(key) != key else "") for key, _, _ in properties]
            lines.append("        package enum CodingKeys: String, CodingKey { " + "; ".join(cases) + " }")
        for key, value, required in properties:
            lines.append(f"        package var {escaped(camel(key))}: {self.type(value)}{'' if required else '?'}")
        arguments = ", ".join(f"{camel(key)}: {self.type(value)}{'' if required else '? = nil'}" for key, value, required in properties)
        lines.append(f"        package init({arguments}) {{")
        lines += [f"            self.{escaped(camel(key))} = {escaped(camel(key))}" for key, _, _ in properties]
        lines.append("        }")
        lines.append("        package func write(to json: inout JSONWriter) {")
        if properties:
            lines.append("            json.object { json in")
            for key, value, required in sorted(properties):
                # What may be null is told as null where there is none.
                call = "member" if required else "memberOrNull" if value.get("nullable") else "memberIfPresent"
                lines.append(f'                json.{call}("{key}", {escaped(camel(key))})')
            lines.append("            }")
        else:
            lines.append("            json.object { _ in }")
        lines.append("        }")
        checks = self.checks(name)
        if checks:
            lines.append("        package func check(_ place: Place) throws(Misfit) {")
            lines += ["            " + line for line in checks]
            lines.append("        }")
        lines.append("    }\n")
        return "\n".join(lines)

    def checks(self, name):
        """Statements that hold a message against what the description says beside its types."""
        if name not in self.sent or self.list_item(name):
            return []
        lines = []
        for key, schema, required in self.properties(name):
            value = escaped(camel(key))
            if "pattern" in schema:
                assert (name, key) in PATTERNS, f"{name}.{key} has a pattern: say where it is checked"
            found = self.checks_of("$0", schema, f'place.at("{key}")')
            for line in found:
                if required:
                    lines.append(line.replace("$0", value))
                else:
                    lines.append(f"if let {value} {{ {line.replace('$0', value)} }}")
        return lines

    def checks_of(self, value, schema, place):
        if "$ref" in schema:
            name = reference(schema)
            return [f"try {value}.check({place})"] if name in self.checked else []
        lines = []
        if "enum" in schema:
            lines.append(f"try {place}.one(of: [{', '.join(quoted(word) for word in schema['enum'])}], {value})")
        if "minimum" in schema or "maximum" in schema:
            lines.append(f"try {place}.within({schema.get('minimum', 'nil')}, {schema.get('maximum', 'nil')}, Int64({value}))")
        if schema.get("minLength"):
            lines.append(f"try {place}.atLeast({schema['minLength']}, {value}.utf8.count, \"string length\")")
        if schema.get("minItems"):
            lines.append(f"try {place}.atLeast({schema['minItems']}, {value}.count, \"number of items\")")
        if schema.get("type") == "array":
            for line in self.checks_of("item", schema["items"], f"{place}.at(index)"):
                lines.append(f"for (index, item) in {value}.enumerated() {{ {line} }}")
        return lines


def reference(schema):
    return schema["$ref"].rsplit("/", 1)[1]


def operations(description):
    for path, item in description["paths"].items():
        shared = item.get("parameters", [])
        for method, operation in item.items():
            if isinstance(operation, dict):
                yield path, method, operation, shared + operation.get("parameters", [])


def parameter_table(description):
    lines = [HEADER + "extension Operation {", "    /// What an operation takes in its query, as the description says.", "    var parameters: [Parameter] {", "        switch self {"]
    for path, method, operation, parameters in operations(description):
        found = []
        for parameter in parameters:
            if "$ref" in parameter:
                parameter = description["components"]["parameters"][reference(parameter)]
            schema = parameter["schema"]
            if parameter["in"] != "query":
                continue
            item = schema["items"] if schema["type"] == "array" else schema
            kind = {"string": ".text", "integer": ".integer", "boolean": ".flag"}[item["type"]]
            if item.get("format") == "date-time":
                kind = ".time"
            if "enum" in item:
                kind = f".word([{', '.join(quoted(word) for word in item['enum'])}])"
            if item["type"] == "integer":
                kind = f".integer({item.get('minimum', 'Int.min')}...{item.get('maximum', 'Int.max')})"
            arguments = [quoted(parameter["name"]), kind]
            if parameter.get("required"):
                arguments.append("isRequired: true")
            if schema["type"] == "array":
                arguments.append("isList: true")
            if parameter.get("allowEmptyValue"):
                arguments.append("allowsEmpty: true")
            found.append(f"Parameter({', '.join(arguments)})")
        if found:
            name = operation["operationId"]
            case = "createCommitRecord" if name == "CreateCommitRecord" else name
            lines.append(f"        case .{case}: [{', '.join(found)}]")
    lines += ["        default: []", "        }", "    }", "}"]
    return "\n".join(lines) + "\n"


def outputs():
    description = load()
    schemas = Schemas(description)
    made = {}
    for letters in PARTS:
        names = sorted(name for name in schemas.schemas if name[0].upper() in letters)
        body = "\n".join(schemas.declaration(name) for name in names)
        made[MESSAGES / f"API+{letters}.swift"] = HEADER + "extension API {\n" + body + "}\n"
    text = json.dumps(description, separators=(",", ":"), ensure_ascii=True)
    assert '"##' not in text
    made[MESSAGES / "Description.swift"] = HEADER + "extension API {\n    /// All of the API as an OpenAPI description, JSON.\n    package static let description: StaticString = ##\"" + text + "\"##\n}\n"
    made[ROOT / "Sources/LakeLocalServer/REST/OperationParameters.swift"] = parameter_table(description)
    return made


def main(arguments):
    if arguments[:1] == ["--take"]:
        (HERE / "lakefs.yml").write_text(take(arguments[1]))
        arguments = []
    if arguments[:1] == ["--differs"]:
        if take(arguments[1]) == (HERE / "lakefs.yml").read_text():
            return 0
        print(f"lakefs.yml is not what {arguments[1]} says: take it over")
        return 1
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what Description/generate.py makes")
        return 1 if stale else 0
    for path, text in outputs().items():
        if path in stale:
            path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The OpenAPI document comes in, the page that lists every call with its fields goes out."""

import json
from typing import Any

from serving.openapi import openapi_document
from site_builder.markdown import code, table, text

Schema = dict[str, Any]


def body() -> str:
    """A section per call, then one per shape that calls share."""
    document = openapi_document()
    schemas = document["components"]["schemas"]
    parts = [
        text(document["info"]["description"]),
        "How to use it: [HTTP](../http-api.md). A service that runs answers its own version at `/docs.json`.",
    ]
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            parts.append(_call(f"{method.upper()} {path}", call, schemas))
    parts.append("## Shapes")
    parts += [f"### {name}\n\n{_description(schema)}{_fields(schema)}" for name, schema in sorted(schemas.items())]
    return "\n\n".join(part.rstrip() for part in parts)


def _call(title: str, call: dict[str, Any], schemas: dict[str, Schema]) -> str:
    parts = [f"## {title}", text(f"{call.get('summary', '').rstrip('.')}. {call.get('description', '')}".strip())]
    if call.get("parameters"):
        asked = [
            (code(one["name"]), str(one["in"]), _type(one.get("schema", {})), text(one.get("description", "")))
            for one in call["parameters"]
        ]
        parts.append(table(("parameter", "in", "type", ""), asked))
    content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
    if content:
        parts.append(f"Body: {_type(content['schema'])}")
        for example in _examples(content):
            parts.append(f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```")
    rows = [
        (code(status), text(one.get("description", "")), _type(_json_schema(one)))
        for status, one in call["responses"].items()
    ]
    parts.append(table(("status", "", "body"), rows))
    return "\n\n".join(parts)


def _json_schema(response: dict[str, Any]) -> Schema:
    content: dict[str, Any] = response.get("content", {})
    schema: Schema = content.get("application/json", {}).get("schema", {})
    return schema


def _examples(content: dict[str, Any]) -> list[Any]:
    if "example" in content:
        return [content["example"]]
    return [one["value"] for one in content.get("examples", {}).values() if "value" in one][:1]


def _description(schema: Schema) -> str:
    words = " ".join(schema.get("description", "").split())
    return f"{text(words)}\n\n" if words else ""


def _fields(schema: Schema) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (code(name), _type(field), _default(name, field, required), text(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    return table(("field", "type", "default", ""), rows) if rows else ""


def _default(name: str, field: Schema, required: set[str]) -> str:
    if name in required:
        return "needed"
    return code(json.dumps(field["default"], ensure_ascii=False)) if field.get("default") is not None else ""


def _type(schema: Schema) -> str:
    """A schema's type in a few words, with a link where it is a shape of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for mark in ("anyOf", "oneOf"):
        if mark in schema:
            return " or ".join(dict.fromkeys(kind for one in schema[mark] if (kind := _type(one))))
    if "enum" in schema:
        return " or ".join(code(json.dumps(value)) for value in schema["enum"])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'anything'}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"name → {_type(schema['additionalProperties']) or 'anything'}"
    kind = schema.get("type", "")
    return (" or ".join(kind) if isinstance(kind, list) else str(kind)) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    return f", from {low:g}" if low is not None else f", up to {high:g}" if high is not None else ""

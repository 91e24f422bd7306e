//! The description of the JSON interface for tools, made from the descriptors: `/openapi.json` in the form of OpenAPI 3.0,
//! `/swagger.json` in that of Swagger 2.0, which etcd's own description has.
//!
//! INVARIANT: every path that is served is described, and nothing else is.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use crate::descriptors::POOL;
use crate::rpc::Rpc;

/// OpenAPI 3.0.
pub(crate) static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| Description::make(Dialect::OpenApi));

/// Swagger 2.0.
pub(crate) static SWAGGER: LazyLock<Bytes> = LazyLock::new(|| Description::make(Dialect::Swagger));

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenApi,
    Swagger,
}

impl Dialect {
    /// A reference to a schema.
    fn reference(self, name: &str) -> Value {
        match self {
            Self::OpenApi => json!({ "$ref": format!("#/components/schemas/{name}") }),
            Self::Swagger => json!({ "$ref": format!("#/definitions/{name}") }),
        }
    }

    /// An answer of this form.
    fn response(self, description: &str, schema: &Value) -> Value {
        match self {
            Self::OpenApi => {
                json!({ "description": description, "content": { "application/json": { "schema": schema } } })
            }
            Self::Swagger => json!({ "description": description, "schema": schema }),
        }
    }
}

/// A description that grows.
struct Description {
    dialect: Dialect,
    schemas: BTreeMap<String, Value>,
}

impl Description {
    fn make(dialect: Dialect) -> Bytes {
        let mut description = Self { dialect, schemas: BTreeMap::new() };
        description.schemas.insert("Error".to_owned(), error());
        let mut paths = Map::new();
        for rpc in Rpc::ALL {
            let (service, method) = rpc.names();
            let service = POOL.get_service_by_name(service).expect("the services are built in");
            let Some(method) = service.methods().find(|known| known.name() == method) else { continue };
            for (number, path) in rpc.json_paths().iter().enumerate() {
                let operation = description.operation(&method, number);
                paths.insert(format!("/v3{path}"), json!({ "post": operation }));
            }
        }
        Bytes::from(description.whole(&Value::Object(paths)).to_string())
    }

    fn whole(&self, paths: &Value) -> Value {
        let info = json!({
            "title": "etcd v3 over JSON",
            "description": "Bytes are in base64 and 64-bit numbers are strings. Streams take requests one after the \
                            other from the body and answer with a line each. /v3beta and /v3alpha name the same.",
            "version": api::level::SERVER,
        });
        match self.dialect {
            Dialect::OpenApi => json!({
                "openapi": "3.0.3",
                "info": info,
                "paths": paths,
                "components": { "schemas": self.schemas },
            }),
            Dialect::Swagger => json!({
                "swagger": "2.0",
                "info": info,
                "consumes": ["application/json"],
                "produces": ["application/json"],
                "paths": paths,
                "definitions": self.schemas,
            }),
        }
    }

    /// A call; further paths of it have a number behind its name.
    fn operation(&mut self, method: &MethodDescriptor, number: usize) -> Value {
        let service = method.parent_service().name().to_owned();
        let mut id = format!("{service}_{}", method.name());
        if number > 0 {
            id.push_str(&(number + 1).to_string());
        }
        let request = self.message(&method.input());
        let mut answer = self.message(&method.output());
        let error = self.dialect.reference("Error");
        if method.is_server_streaming() {
            answer = json!({ "type": "object", "properties": { "result": answer, "error": error } });
        }
        let responses = json!({
            "200": self.dialect.response("What was asked for.", &answer),
            "default": self.dialect.response("Why it was refused.", &error),
        });
        match self.dialect {
            Dialect::OpenApi => json!({
                "operationId": id,
                "tags": [service],
                "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
                "responses": responses,
            }),
            Dialect::Swagger => json!({
                "operationId": id,
                "tags": [service],
                "parameters": [{ "name": "body", "in": "body", "required": true, "schema": request }],
                "responses": responses,
            }),
        }
    }

    /// A reference to a message, whose schema is made when it is first needed.
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = schema_name(message.full_name());
        if !self.schemas.contains_key(&name) {
            // It may hold itself, as a transaction does.
            self.schemas.insert(name.clone(), Value::Null);
            let fields = message.fields().map(|field| (field.name().to_owned(), self.field(&field)));
            let properties: Map<String, Value> = fields.collect();
            self.schemas.insert(name.clone(), json!({ "type": "object", "properties": properties }));
        }
        self.dialect.reference(&name)
    }

    fn enumeration(&mut self, kind: &EnumDescriptor) -> Value {
        let name = schema_name(kind.full_name());
        let values: Vec<String> = kind.values().map(|value| value.name().to_owned()).collect();
        self.schemas
            .insert(name.clone(), json!({ "type": "string", "enum": values, "default": values.first() }));
        self.dialect.reference(&name)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let one = match field.kind() {
            Kind::Message(message) => self.message(&message),
            Kind::Enum(kind) => self.enumeration(&kind),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte" }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "int64" }),
            Kind::Float | Kind::Double => json!({ "type": "number" }),
        };
        if field.is_list() { json!({ "type": "array", "items": one }) } else { one }
    }
}

/// `etcdserverpb.RangeRequest.SortOrder` as tools take it: a name without dots.
fn schema_name(full_name: &str) -> String {
    full_name.replace('.', "")
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "error": { "type": "string" },
            "code": { "type": "integer", "format": "int32" },
            "message": { "type": "string" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All references in a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_path_is_described_and_every_reference_leads_somewhere() {
        for (text, prefix, schemas) in [
            (&*OPENAPI, "#/components/schemas/", "/components/schemas"),
            (&*SWAGGER, "#/definitions/", "/definitions"),
        ] {
            let description: Value = serde_json::from_slice(text).expect("it is JSON");
            for path in Rpc::ALL.iter().flat_map(|rpc| rpc.json_paths()) {
                let operation = &description["paths"][format!("/v3{path}")]["post"];
                assert!(operation["operationId"].is_string(), "{path}");
            }
            let known = description.pointer(schemas).and_then(Value::as_object).expect("there are some");
            let mut found = Vec::new();
            references(&description, &mut found);
            for reference in found {
                let name = reference.strip_prefix(prefix).expect("it leads to a schema");
                assert!(known[name].is_object(), "{name}");
            }
            let put = &known["etcdserverpbPutRequest"]["properties"];
            assert_eq!(put["lease"], json!({ "type": "string", "format": "int64" }));
            assert_eq!(put["key"]["format"], "byte");
            assert_eq!(
                known["etcdserverpbRangeRequestSortOrder"]["enum"],
                json!(["NONE", "ASCEND", "DESCEND"])
            );
        }
    }
}

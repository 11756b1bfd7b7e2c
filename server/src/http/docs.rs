//! `GET /api/docs`: the OpenAPI document as a page for people, without a script and without anything from elsewhere.

use std::fmt::Write;

use axum::response::Html;
use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
code{font:14px ui-monospace,monospace}h2{margin:2rem 0 .3rem;font-size:1rem}p{margin:.2rem 0}\
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

/// The page; it says what the document says.
pub async fn page() -> Html<String> {
    let document = serde_json::to_value(super::openapi()).unwrap_or_default();
    Html(render(&document))
}

fn render(document: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>cadence API</title><style>{STYLE}</style><h1>cadence API {}</h1><p>{}</p>\
         <p>Requests carry <code>Authorization: Bearer TOKEN</code>. Types are in \
         <a href=/api/openapi.json>the OpenAPI document</a>.</p>",
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let _ = write!(page, "<h2><code>{} {}</code></h2>", escape(&method.to_uppercase()), escape(path));
            let _ = write!(page, "<p>{}</p>", text(&operation["summary"]));
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if let Some(name) = type_name(body) {
                let _ = write!(page, "<p>takes <code>{}</code></p>", escape(name));
            }
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                let schema = &response["content"]["application/json"]["schema"];
                let name = type_name(schema).map(|name| format!(" <code>{}</code>", escape(name))).unwrap_or_default();
                let _ = write!(page, "<p>{}{name} {}</p>", escape(status), text(&response["description"]));
            }
        }
    }
    page
}

/// The last part of a `$ref`, also where the body may be left out.
fn type_name(schema: &Value) -> Option<&str> {
    let optional = schema["oneOf"].as_array().and_then(|any| any.iter().find_map(|one| one["$ref"].as_str()));
    schema["$ref"].as_str().or(optional)?.rsplit('/').next()
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_on_the_page() {
        let document = serde_json::to_value(crate::http::openapi()).unwrap_or_default();
        let page = render(&document);
        assert!(page.contains("<code>POST /api/tasks/{id}/approvals/{approvalId}</code>"));
        assert!(page.contains("takes <code>CreateTask</code>"));
        assert!(page.contains("takes <code>ResumeTask</code>"));
        assert_eq!(page.matches("<h2>").count(), 41);
    }

    #[test]
    fn what_is_written_is_text() {
        let document = serde_json::json!({ "info": { "version": "<script>" } });
        assert!(!render(&document).contains("<script>"));
    }
}

use axum::Json;
use axum::extract::State;
use cadence_protocol::{Approval, ApprovalKind, ApprovalList, ApprovalQuery, Decide, DecisionRequest};
use uuid::Uuid;

use super::App;
use super::auth::{Actor, Reader};
use super::error::{ApiJson, ApiPath, ApiQuery, Failure};

/// What waits for a person, over all tasks, oldest first. With the beginning of an id: what has it, decided or not.
#[utoipa::path(get, path = "/api/approvals", params(ApprovalQuery), responses((status = 200, body = ApprovalList)))]
pub async fn list(
    State(app): State<App>,
    Reader(who): Reader,
    ApiQuery(query): ApiQuery<ApprovalQuery>,
) -> Result<Json<ApprovalList>, Failure> {
    let approvals = match query.id {
        Some(prefix) => app.store.approvals_by_id(who.user_id, prefix).await?,
        None => app.store.approvals(who.user_id, None).await?,
    };
    Ok(Json(ApprovalList { approvals }))
}

/// What waits for a person in one task.
#[utoipa::path(get, path = "/api/tasks/{id}/approvals", params(("id" = Uuid, Path)),
    responses((status = 200, body = ApprovalList)))]
pub async fn list_of_task(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<ApprovalList>, Failure> {
    app.store.task(who.user_id, id).await?;
    Ok(Json(ApprovalList { approvals: app.store.approvals(who.user_id, Some(id)).await? }))
}

/// Answers an approval or a question; the first answer counts.
#[utoipa::path(post, path = "/api/tasks/{id}/approvals/{approvalId}",
    params(("id" = Uuid, Path), ("approvalId" = String, Path)), request_body = Decide,
    responses((status = 200, body = Approval), (status = 409, description = "It was already answered, or withdrawn")))]
pub async fn decide(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath((id, approval)): ApiPath<(Uuid, String)>,
    ApiJson(decide): ApiJson<Decide>,
) -> Result<Json<Approval>, Failure> {
    let asked = app.store.approval(who.user_id, id, &approval).await?;
    if asked.kind == ApprovalKind::Question && decide.decision != DecisionRequest::Deny && decide.answers.is_none() {
        return Err(Failure::invalid("answers", "a question needs an answer to each question's text"));
    }
    if decide.updated_input.as_ref().is_some_and(|input| !input.is_object()) {
        return Err(Failure::invalid("updatedInput", "it must be an object, as the tool's input is"));
    }
    Ok(Json(app.store.decide(who, id, approval, decide).await?))
}

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Commits that were sent to the server as a git bundle. Answer of `POST /api/bundles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    pub id: Uuid,
    /// In bytes.
    pub size: u64,
    pub heads: Vec<BundleRef>,
    /// Commits that it builds on; whoever takes it must have them. Empty: it has the whole history.
    pub prerequisites: Vec<String>,
}

/// A reference of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct BundleRef {
    /// `HEAD`, or a full name below `refs/heads/` or `refs/tags/`.
    #[serde(rename = "ref")]
    pub name: String,
    pub commit: String,
}

/// A bundle that an attempt starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleSource {
    pub id: Uuid,
    /// Names the repository where it has no URL: letters, digits and `-`; the same for all bundles of one repository that
    /// one user sends.
    pub repository: String,
}

//! What git writes and reads: lists with zero bytes, paths, messages that may hold credentials.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Hides user names and passwords in URLs.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || "'\"<>".contains(c)).unwrap_or(after.len());
        out.push_str(before);
        rest = after;
        if let Some(user) = after[..end].rfind('@')
            && (!before.ends_with("ssh://") || after[..user].contains(':'))
        {
            out.push_str("***");
            rest = &after[user..];
        }
    }
    out.push_str(rest);
    out
}

/// The fields of output that ends each with a zero byte.
pub fn fields(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == 0).filter(|field| !field.is_empty())
}

/// A path as git wrote it.
pub fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// A path as git reads it from a list with zero bytes.
pub fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden() {
        assert_eq!(redact("to https://me:secret@host/x and"), "to https://***@host/x and");
        assert_eq!(redact("https://ghp_token@github.com/a/b"), "https://***@github.com/a/b");
        assert_eq!(redact("ssh://git@host/x"), "ssh://git@host/x");
        assert_eq!(redact("ssh://git:pw@host/x"), "ssh://***@host/x");
        assert_eq!(redact("https://a:p@ss@host/x://y@z"), "https://***@host/x://***@z");
        assert_eq!(redact("no url, me@host"), "no url, me@host");
    }
}

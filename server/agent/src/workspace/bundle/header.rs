//! The head of a git bundle (gitformat-bundle(5)): what it brings and what it builds on. Pure; the bytes come from outside.

use std::fmt::Write as _;

use crate::workspace::names::{is_branch_name, is_object_id};

/// Longest head that is taken, in bytes.
pub const MAX_HEADER: usize = 1 << 20;
/// Most references and most prerequisites of one bundle.
const MOST_HEADS: usize = 100;
const MOST_PREREQUISITES: usize = 2000;

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("it is no git bundle of version 2 or 3")]
    NotABundle,
    #[error("its header is longer than {MAX_HEADER} bytes")]
    TooLong,
    #[error("its header ends in the middle")]
    Truncated,
    #[error("line {0} of its header is not understood")]
    Line(usize),
    #[error("it names more than {MOST_HEADS} references or {MOST_PREREQUISITES} prerequisites")]
    TooMany,
    #[error("it has no reference")]
    Empty,
    #[error("it needs `{0}`, which is not supported")]
    Capability(String),
    #[error("its reference `{0}` is none that is expected")]
    Reference(String),
    /// Git found its content damaged or malformed, and said this.
    #[error("its content is damaged: {0}")]
    Content(String),
    #[error("it builds on the commit {0}, which is not there")]
    Prerequisite(String),
    #[error("it does not hold the commit {0}")]
    NoCommit(String),
}

impl BundleError {
    /// Whether it is no bundle at all, or is broken off; else it is one that cannot be used.
    pub const fn is_malformed(&self) -> bool {
        matches!(self, Self::NotABundle | Self::TooLong | Self::Truncated | Self::Line(_) | Self::Empty)
    }
}

/// A reference of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleHead {
    /// `HEAD`, or a full name below `refs/heads/` or `refs/tags/`.
    pub name: String,
    pub commit: String,
}

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleHeader {
    pub heads: Vec<BundleHead>,
    /// Commits that whoever takes it must have.
    pub prerequisites: Vec<String>,
    /// Bytes before the pack.
    pub length: u64,
}

impl BundleHeader {
    /// Reads the head at the beginning of `bytes`, which may go on with the pack; none where more bytes are needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, BundleError> {
        let mut lines = Lines { rest: bytes, taken: 0, number: 0 };
        let v3 = match lines.next()? {
            None => {
                let begun = |name: &[u8]| name.starts_with(&bytes[..bytes.len().min(name.len())]);
                let fits = begun(b"# v2 git bundle\n") || begun(b"# v3 git bundle\n");
                return if fits { Ok(None) } else { Err(BundleError::NotABundle) };
            }
            Some(b"# v2 git bundle") => false,
            Some(b"# v3 git bundle") => true,
            Some(_) => return Err(BundleError::NotABundle),
        };
        let mut id_length = 40;
        let (mut heads, mut prerequisites) = (Vec::<BundleHead>::new(), Vec::new());
        while let Some(line) = lines.next()? {
            let wrong = BundleError::Line(lines.number);
            match line {
                [] if heads.is_empty() => return Err(BundleError::Empty),
                [] => return lines.pack().map(|at| at.map(|length| Self { heads, prerequisites, length })),
                [b'@', capability @ ..] if v3 && heads.is_empty() && prerequisites.is_empty() => match capability {
                    b"object-format=sha1" => id_length = 40,
                    b"object-format=sha256" => id_length = 64,
                    // A filter means that objects are left out; others are not known.
                    other => return Err(BundleError::Capability(shown(other))),
                },
                [b'-', rest @ ..] => {
                    // What follows the id is a comment.
                    let id = rest.split(|b| *b == b' ').next().unwrap_or_default();
                    prerequisites.push(object(id, id_length).ok_or(wrong)?);
                }
                _ => {
                    let (id, name) = line.split_at_checked(id_length).ok_or(wrong.clone())?;
                    let commit = object(id, id_length).ok_or(wrong.clone())?;
                    let name = name.strip_prefix(b" ").ok_or(wrong)?;
                    let name = reference(name).ok_or_else(|| BundleError::Reference(shown(name)))?;
                    if heads.iter().any(|head| head.name == name) {
                        return Err(BundleError::Reference(name));
                    }
                    heads.push(BundleHead { name, commit });
                }
            }
            if heads.len() > MOST_HEADS || prerequisites.len() > MOST_PREREQUISITES {
                return Err(BundleError::TooMany);
            }
        }
        Ok(None)
    }

    /// As a bundle begins; the pack follows.
    pub fn text(&self) -> String {
        let sha256 = self.heads.iter().any(|head| head.commit.len() == 64);
        let mut text =
            String::from(if sha256 { "# v3 git bundle\n@object-format=sha256\n" } else { "# v2 git bundle\n" });
        for commit in &self.prerequisites {
            let _ = writeln!(text, "-{commit}");
        }
        for head in &self.heads {
            let _ = writeln!(text, "{} {}", head.commit, head.name);
        }
        text.push('\n');
        text
    }

    /// Whether it has the whole history, and builds on nothing.
    pub fn is_complete(&self) -> bool {
        self.prerequisites.is_empty()
    }

    /// The hash that its objects are named by, as git calls it.
    pub fn object_format(&self) -> &'static str {
        match self.heads.first() {
            Some(head) if head.commit.len() == 64 => "sha256",
            _ => "sha1",
        }
    }
}

/// The lines of a head, as far as they are there.
struct Lines<'a> {
    rest: &'a [u8],
    taken: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, BundleError> {
        let room = MAX_HEADER.saturating_sub(self.taken);
        let Some(end) = self.rest.iter().take(room).position(|b| *b == b'\n') else {
            return if self.rest.len() >= room { Err(self.endless()) } else { Ok(None) };
        };
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        self.taken += end + 1;
        self.number += 1;
        Ok(Some(line))
    }

    const fn endless(&self) -> BundleError {
        if self.number == 0 { BundleError::NotABundle } else { BundleError::TooLong }
    }

    /// Where the pack begins, once its first bytes are seen (gitformat-pack(5): `PACK` and a version).
    fn pack(&self) -> Result<Option<u64>, BundleError> {
        match self.rest {
            [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, ..] => Ok(Some(self.taken as u64)),
            short if short.len() < 8 => Ok(None),
            _ => Err(BundleError::Line(self.number + 1)),
        }
    }
}

fn object(id: &[u8], length: usize) -> Option<String> {
    let id = std::str::from_utf8(id).ok()?;
    (id.len() == length && is_object_id(id)).then(|| id.to_owned())
}

/// What a bundle may bring: branches, tags, and HEAD.
fn reference(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let inner = ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| name.strip_prefix(prefix));
    (name == "HEAD" || inner.is_some_and(is_branch_name)).then(|| name.to_owned())
}

/// Foreign bytes for an error.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";
    const PACK: &[u8] = b"PACK\0\0\0\x02\0\0\0\0";

    fn parse(text: &str) -> Result<Option<BundleHeader>, BundleError> {
        BundleHeader::parse(&[text.as_bytes(), PACK].concat())
    }

    #[test]
    fn what_git_writes_is_read() {
        let header = parse(&format!("# v2 git bundle\n-{ID} Start it\n{ID} refs/heads/main\n{ID} HEAD\n\n"));
        let header = header.unwrap().unwrap();
        assert_eq!(header.prerequisites, [ID]);
        assert_eq!(header.heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>(), ["refs/heads/main", "HEAD"]);
        let long = ID.repeat(2)[..64].to_owned();
        let v3 = format!("# v3 git bundle\n@object-format=sha256\n{long} refs/tags/v1\n\n");
        let header = parse(&v3).unwrap().unwrap();
        assert_eq!((header.heads[0].commit.as_str(), header.object_format()), (long.as_str(), "sha256"));
        assert_eq!(header.length, v3.len() as u64);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let line = |line: &str| parse(&format!("# v2 git bundle\n{line}\n\n")).unwrap_err();
        for name in ["refs/heads/../x", "refs/cadence/x", "refs/remotes/o/x", "config", "refs/heads/a b", "refs/heads/"]
        {
            assert!(matches!(line(&format!("{ID} {name}")), BundleError::Reference(_)), "{name}");
        }
        assert_eq!(line(&format!("{} HEAD", &ID[1..])), BundleError::Line(2));
        assert_eq!(line("-xyz"), BundleError::Line(2));
        assert_eq!(line(""), BundleError::Empty);
        assert!(matches!(line(&format!("{ID} HEAD\n{ID} HEAD")), BundleError::Reference(_)));
        let filter = parse(&format!("# v3 git bundle\n@filter=blob:none\n{ID} HEAD\n\n")).unwrap_err();
        assert_eq!(filter, BundleError::Capability("filter=blob:none".into()));
        assert_eq!(parse("# v4 git bundle\n"), Err(BundleError::NotABundle));
        assert_eq!(BundleHeader::parse(b"GIF89a"), Err(BundleError::NotABundle));
        let not_a_pack = format!("# v2 git bundle\n{ID} HEAD\n\nnot a pack");
        assert_eq!(BundleHeader::parse(not_a_pack.as_bytes()), Err(BundleError::Line(4)));
        let many = format!("-{ID}\n").repeat(MOST_PREREQUISITES + 1);
        assert_eq!(line(&many), BundleError::TooMany);
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let endless = format!("# v2 git bundle\n-{ID} {}", "x".repeat(MAX_HEADER));
        assert_eq!(BundleHeader::parse(endless.as_bytes()), Err(BundleError::TooLong));
        assert_eq!(BundleHeader::parse(&vec![b'x'; MAX_HEADER]), Err(BundleError::NotABundle));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), whole in any::<bool>()) {
            let head: &[u8] = if whole { b"# v3 git bundle\n" } else { b"" };
            let _ = BundleHeader::parse(&[head, &bytes].concat());
        }

        #[test]
        fn lines_like_those_of_a_bundle_are_read_or_refused(lines in prop::collection::vec("[-@0]?[0-9a-f]{0,41} ?[a-zA-Z/.@{]{0,12}", 0..8)) {
            if let Ok(Some(header)) = parse(&format!("# v2 git bundle\n{}\n\n", lines.join("\n"))) {
                prop_assert!(header.heads.iter().all(|head| is_object_id(&head.commit)));
            }
        }

        #[test]
        fn what_is_written_is_read_again_and_no_part_of_it_is_taken_for_the_whole(
            ids in prop::collection::vec("[0-9a-f]{40}", 1..6),
            before in prop::collection::vec("[0-9a-f]{40}", 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let head = |(n, commit): (usize, &String)| BundleHead { name: format!("refs/heads/b{n}"), commit: commit.clone() };
            let heads = ids.iter().enumerate().map(head).collect();
            let mut header = BundleHeader { heads, prerequisites: before, length: 0 };
            let bytes = [header.text().as_bytes(), PACK].concat();
            header.length = (bytes.len() - PACK.len()) as u64;
            prop_assert_eq!(BundleHeader::parse(&bytes).unwrap(), Some(header.clone()));
            let short = cut.index(bytes.len() - 4);
            prop_assert_eq!(BundleHeader::parse(&bytes[..short]), Ok(None));
        }
    }
}

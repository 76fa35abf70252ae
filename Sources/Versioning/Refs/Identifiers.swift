import Foundations

/// What names one thing of a kind. Each kind is a type of its own, so that no call can be given one for another; they
/// are made once, where text comes from outside or out of a record. Source: `docs/architecture.md`, "Ids are types".
package protocol Identifier: Hashable, Comparable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// As it is written and stored.
    var text: String { get }
    /// Whatever is written; whether a new thing may be called so is for `check()` of those that people choose.
    init(_ text: String)
}

extension Identifier {
    @inlinable package init(stringLiteral text: String) { self.init(text) }
    @inlinable package var description: String { text }
    package var isEmpty: Bool { text.isEmpty }
    @inlinable package static func < (left: Self, right: Self) -> Bool { left.text < right.text }
}

/// The name of a repository: the bucket of S3, the first part of `lakefs://repository/ref/path`.
package struct RepositoryID: Identifier {
    package let text: String
    @inlinable package init(_ text: String) { self.text = text }

    /// `^[a-z0-9][a-z0-9-]{2,62}$`
    package func check() throws {
        let bytes = Array(text.utf8)
        let isValid =
            (3...63).contains(bytes.count) && bytes[0] != 45
            && bytes.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 45 }
        guard isValid else {
            throw LakeError(
                .invalidValue,
                "repository name '\(text.prefix(80))' is not allowed: use 3 to 63 lower-case letters, digits and hyphens, the first one no hyphen"
            )
        }
    }
}

/// The name of a branch.
package struct BranchName: Identifier {
    package let text: String
    @inlinable package init(_ text: String) { self.text = text }

    /// `^\w[-\w]*$`, at most 255 bytes.
    package func check() throws {
        let bytes = Array(text.utf8)
        let isValid =
            (1...255).contains(bytes.count) && bytes[0] != 45 && bytes.allSatisfy { Self.isWord($0) || $0 == 45 }
        guard isValid else {
            throw LakeError(
                .invalidValue,
                "branch name '\(text.prefix(80))' is not allowed: use letters, digits, underscores and hyphens, the first one no hyphen, at most 255"
            )
        }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || byte == 95
    }
}

/// The id of a commit: 64 hex digits that follow from its content. Source: `lakefs-formats.md` 4.4.
package struct CommitID: Identifier {
    package let text: String
    @inlinable package init(_ text: String) { self.text = text }
}

/// The partition that a branch's uncommitted changes lie in. Source: `lakefs-formats.md` 5.6.
package struct StagingToken: Identifier {
    package let text: String
    @inlinable package init(_ text: String) { self.text = text }

    package var partition: Partition { Partition(text) }
}

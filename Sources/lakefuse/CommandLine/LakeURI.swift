import Foundations
import Versioning

/// `lakefs://repository/ref/path`, as far as it goes.
struct LakeURI: Sendable {
    let repository: String
    let ref: String?
    let path: String?

    static let scheme = "lakefs://"

    /// - Parameter base: what stands before a text that is no whole URI (`--base-uri`).
    /// - Throws: `CommandError`.
    init(_ text: String, base: String? = nil, what: String) throws {
        let whole = text.hasPrefix(Self.scheme) ? text : (base ?? "") + text
        let rest = whole.dropFirst(Self.scheme.count)
        guard whole.hasPrefix(Self.scheme) else { throw Self.malformed(what, text) }
        let parts = rest.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        guard let first = parts.first, !first.isEmpty else { throw Self.malformed(what, text) }
        repository = first
        ref = parts.count > 1 && !parts[1].isEmpty ? parts[1] : nil
        path = parts.count > 2 ? parts[2] : nil
    }

    init(repository: String, ref: String? = nil, path: String? = nil) {
        (self.repository, self.ref, self.path) = (repository, ref, path)
    }

    private static func malformed(_ what: String, _ text: String) -> CommandError {
        CommandError("\(what) malformed lakefs URI", hint: "'\(text)' is none: lakefs://repository/ref/path is")
    }

    var description: String { Self.scheme + [repository, ref, path].compactMap(\.self).joined(separator: "/") }
}

extension Invocation {
    private func uri(_ text: String, _ what: String) throws -> LakeURI {
        try LakeURI(text, base: values["base-uri"]?.last ?? environment["LAKECTL_BASE_URI"], what: what)
    }

    /// `lakefs://repository`.
    func repository(_ index: Int = 0) throws -> LakeURI {
        let uri = try uri(arguments[index], "repository URI")
        guard (try? RepositoryID(uri.repository).check()) != nil else {
            throw CommandError(
                "repository URI contains invalid repository name (repo=\(uri.repository)): not a valid repo URI",
                hint: "small letters, digits and hyphens, three at least")
        }
        if let ref = uri.ref {
            throw CommandError(
                "repository URI repository URI includes a ref part (ref=\(ref)): not a valid repo URI")
        }
        return LakeURI(repository: uri.repository)
    }

    /// `lakefs://repository/ref`.
    func ref(_ index: Int = 0, _ what: String = "ref URI") throws -> (uri: LakeURI, repository: String, ref: String) {
        try ref(arguments[index], what)
    }

    func ref(_ text: String, _ what: String) throws -> (uri: LakeURI, repository: String, ref: String) {
        let uri = try uri(text, what)
        guard let ref = uri.ref else {
            throw CommandError("\(what) missing reference part: not a valid ref URI")
        }
        if uri.path?.isEmpty == false {
            throw CommandError("\(what) \(what) includes a path part: not a valid \(what)")
        }
        return (LakeURI(repository: uri.repository, ref: ref), uri.repository, ref)
    }

    /// `lakefs://repository/branch`.
    func branch(_ index: Int = 0) throws -> (uri: LakeURI, repository: String, ref: String) {
        let found = try ref(index, "branch URI")
        guard (try? BranchName(found.ref).check()) != nil else {
            throw CommandError(
                "branch URI contains invalid branch name: not a valid branch URI",
                hint: "letters, digits, '_' and '-' in it, also '.' and '/' but not first")
        }
        return found
    }

    /// `lakefs://repository/ref/path`; the path may be empty.
    func path(_ index: Int = 0, _ what: String = "path URI") throws -> (
        uri: LakeURI, repository: String, ref: String, path: String
    ) { try path(arguments[index], what) }

    func path(_ text: String, _ what: String) throws -> (
        uri: LakeURI, repository: String, ref: String, path: String
    ) {
        let uri = try uri(text, what)
        guard let ref = uri.ref else {
            throw CommandError("\(what) missing reference part: not a valid ref URI")
        }
        guard let path = uri.path else {
            throw CommandError("\(what) missing path part: not a valid path URI", hint: "end it with a slash for all")
        }
        return (uri, uri.repository, ref, path)
    }
}

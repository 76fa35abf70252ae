import Glibc

/// The root of a repository's objects in an object store, as `local://name`, `mem://name`, `s3://bucket/prefix`.
/// Source: `lakefs-formats.md` section 1.
package struct StorageNamespace: Hashable, Sendable, CustomStringConvertible {
    /// `local`, `mem`, `s3`, ….
    package let scheme: String
    /// Host and path, without slashes at either end.
    package let path: String
    /// The id of the store that it is in, where a server has several; empty for the one that needs no id.
    package let store: String

    /// Nil if `text` is no URI of the form `scheme://name[/path]`.
    package init?(_ text: String, store: String = "") {
        guard let location = ObjectLocation(address: text) else { return nil }
        scheme = location.scheme
        self.store = store
        // To a file system two slashes are one; in a bucket they are two.
        let parts = location.path.split(separator: "/", omittingEmptySubsequences: scheme == "local")
        var rest = parts[...]
        while rest.first?.isEmpty == true { rest.removeFirst() }
        while rest.last?.isEmpty == true { rest.removeLast() }
        guard !rest.isEmpty else { return nil }
        path = rest.joined(separator: "/")
    }

    package var description: String { "\(scheme)://\(path)" }

    /// Where a relative address, such as `data/…` or `_lakefs/…`, lies.
    package func location(_ relative: String) -> ObjectLocation {
        ObjectLocation(scheme: scheme, path: path + "/" + relative, store: store)
    }
}

/// Where one immutable object lies, in whatever store serves its scheme.
package struct ObjectLocation: Hashable, Sendable, CustomStringConvertible {
    package let scheme: String
    package let path: String
    /// The id of the store, as that of a namespace. An address does not tell it.
    package let store: String
    package init(scheme: String, path: String, store: String = "") {
        self.scheme = scheme
        self.path = path
        self.store = store
    }

    /// The same place in a store of that id.
    package func inStore(_ store: String) -> ObjectLocation {
        ObjectLocation(scheme: scheme, path: path, store: store)
    }

    // By bytes: two texts that look alike are two objects.
    package static func == (left: ObjectLocation, right: ObjectLocation) -> Bool {
        hasSameBytes(left.path, right.path) && hasSameBytes(left.scheme, right.scheme)
            && hasSameBytes(left.store, right.store)
    }

    private static func hasSameBytes(_ left: String, _ right: String) -> Bool {
        var (left, right) = (left, right)
        return left.withUTF8 { left in
            right.withUTF8 { right in
                unsafe left.count == right.count
                    && (left.count == 0 || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0)
            }
        }
    }

    package func hash(into hasher: inout Hasher) {
        for var text in [scheme, path, store] {
            text.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }

    /// What a full address names: all behind `scheme://`, as it stands. `local:///x` is the file `/x`, outside of the
    /// store. Nil if `address` is no URI of the form `scheme://path`.
    package init?(address: String, store: String = "") {
        let bytes = Array(address.utf8)
        guard let colon = bytes.firstIndex(of: 0x3a), colon > 0, bytes[colon...].starts(with: [0x3a, 0x2f, 0x2f]),
            bytes.count > colon + 3,
            bytes[..<colon].allSatisfy({ ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) })
        else { return nil }
        self.init(
            scheme: String(decoding: bytes[..<colon], as: UTF8.self),
            path: String(decoding: bytes[(colon + 3)...], as: UTF8.self), store: store)
    }

    package var description: String { "\(scheme)://\(path)" }

    /// Whether it is a file outside of the store, by its absolute path. Told by the first byte: a character may be more
    /// than its slash.
    package var isOutside: Bool { path.utf8.first == 0x2f }
}

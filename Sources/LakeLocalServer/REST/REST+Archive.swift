import Foundations
import Versioning

extension REST {
    /// All objects of a prefix as one file.
    func addArchive(_ router: inout Router) {
        router.on(.getObjectsArchive) { call in
            let format = ArchiveFormat(rawValue: try call.choice("format", ["zip", "tar"]) ?? "zip")!
            let scope = ObjectArchive.Scope(
                ref: call[.ref], repository: call.repository, prefix: call.key("path"),
                isRecursive: try call.flag("recursive") ?? true)
            return call.work {
                let objects = "arn:lakefs:fs:::repository/\(call.repository)/object/"
                let allows = { @Sendable (path: Key) in
                    if try access.isFree(to: ["fs:ReadObject"], below: objects, for: call.caller) { return }
                    try call.require(.object("ReadObject", call.repository, path))
                }
                try ObjectArchive.check(catalog, scope, format, allows: allows)
                let archive = try ObjectArchive(catalog, scope, format, allows: allows)
                return Response(
                    status: 200,
                    headers: [
                        ("Content-Type", format.contentType),
                        ("Content-Disposition", "attachment; filename=\"\(call.repository).\(format.rawValue)\""),
                        ("Cache-Control", "no-store"),
                    ] + Response.untrusted,
                    body: .pieces { try archive.next() })
            }
        }
    }
}

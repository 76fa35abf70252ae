import Foundations
import Versioning

extension REST {
    /// All objects of a prefix as one file.
    func addArchive(_ router: inout Router) {
        router.on(.getObjectsArchive) { call in
            let format = ArchiveFormat(rawValue: call.text("format") ?? "zip")!
            let scope = ObjectArchive.Scope(
                ref: call[.ref], repository: call.repository, prefix: call.key("path"),
                isRecursive: try call.flag("recursive") ?? true)
            return call.work {
                let archive = try ObjectArchive(catalog, scope, format) { path in
                    try call.require(.object("ReadObject", call.repository, path))
                }
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

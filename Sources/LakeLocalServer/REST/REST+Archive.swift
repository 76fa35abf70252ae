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
                let isFree = try access.isFree(
                    to: ["fs:ReadObject"], below: "arn:lakefs:fs:::repository/\(call.repository)/object/",
                    for: call.caller)
                try ObjectArchive.check(catalog, scope, format) { path in
                    if !isFree { try call.require(.object("ReadObject", call.repository, path)) }
                }
                let archive = try ObjectArchive(catalog, scope, format)
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

import Glibc
import LakeAPI
import Versioning

extension Command {
    /// `lakefs://repo/ref` or `repo@ref`.
    private static func target(_ invocation: Invocation) throws -> (repository: String, ref: String) {
        let text = invocation.arguments[0]
        if !text.contains("://"), let mark = text.firstIndex(of: "@"), mark > text.startIndex, text.index(after: mark) < text.endIndex { return (String(text[..<mark]), String(text[text.index(after: mark)...])) }
        let uri = try invocation.uri(0)
        guard uri.path ?? "" == "" else { throw LakeError(.invalidValue, "\(uri.description) has a path: a whole ref is mounted") }
        return (uri.repository, try uri.requireRef())
    }

    static let mountCommands: [Command] = [
        Command(path: ["mount"], arguments: ["<ref URI or repository@ref>", "<folder>"], summary: "Mount a ref on an empty folder: a branch read-write, anything else read-only",
                flags: [Flag(name: "read-only", description: "mount a branch read-only too")]) { invocation in
            let (repository, ref) = try target(invocation), folder = Files.absolute(invocation.arguments[1])
            try invocation.client.post(["mounts"], MountMessage(repository: repository, ref: ref, directory: folder, readOnly: invocation.has("read-only") ? true : nil), api: "lakefuse")
            Output.line("mounted lakefs://\(repository)/\(ref) on \(folder)")
        },
        Command(path: ["umount"], arguments: ["<folder>"], summary: "Unmount; what was written is published first") { invocation in
            let folder = Files.absolute(invocation.arguments[0])
            unsafe try invocation.client.send("DELETE", ["mounts"], [("directory", folder)], api: "lakefuse")
        },
        Command(path: ["mounts"], summary: "List mounts") { invocation in
            for mount in try invocation.client.get(MountList.self, ["mounts"], api: "lakefuse").mounts {
                Output.line("lakefs://\(mount.repository)/\(mount.ref)\t\(mount.directory)\t\(mount.readOnly == true ? "read-only" : "read-write")")
            }
        },
    ]
}

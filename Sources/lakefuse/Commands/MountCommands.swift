import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import Versioning

/// The files of a mount's `.lake/`, found from a folder in it.
struct MountedFolder {
    private let control: String

    /// - Parameter folder: in the mount; the current one unless given.
    /// - Throws: `.invalidValue` if it is in none.
    init(_ folder: String? = nil) throws {
        let start = folder.map { Files.absolute($0) } ?? FileManager.default.currentDirectoryPath
        var place = start
        while unsafe access(place + "/.lake/ref", F_OK) != 0 {
            guard place != "/", !place.isEmpty else {
                throw LakeError(.invalidValue, "\(start) is in no mount: go into one, or name a lakefs:// URI")
            }
            place = place.lastIndex(of: "/").flatMap { $0 > place.startIndex ? String(place[..<$0]) : nil } ?? "/"
        }
        control = (place == "/" ? "" : place) + "/.lake/"
    }

    var root: String {
        let folder = control.dropLast("/.lake/".count)
        return folder.isEmpty ? "/" : String(folder)
    }

    func read(_ name: String) throws -> String { String(decoding: try Files.read(control + name), as: UTF8.self) }

    /// The same, line by line.
    private func lines(_ name: String) throws -> [Substring] { try read(name).split(separator: "\n") }

    /// What it shows and what was changed, as JSON.
    func status() throws -> JSONValue {
        let lines = try lines("status")
        // `lakefs://repository/ref at commit, read-only`, then a line for each change and each thing to know.
        let head = (lines.first ?? "").split(separator: " ")
        let commit = head.count > 2 ? head[2].prefix { $0 != "," } : ""
        var (changes, notes): ([JSONValue], [JSONValue]) = ([], [])
        for line in lines.dropFirst() {
            let parts = line.split(separator: " ", maxSplits: 2)
            if parts.count == 3, ["+", "-", "~", "*"].contains(parts[0]) {
                changes.append(.object(["type": .text(String(parts[1])), "path": .text(String(parts[2]))]))
            } else {
                notes.append(.text(String(line.hasPrefix("! ") ? line.dropFirst(2) : line)))
            }
        }
        return .object([
            "mount": .text(root), "ref": .text(String(head.first ?? "")), "commit": .text(String(commit)),
            "read_only": .flag(head.last == "read-only"), "changes": .list(changes), "notes": .list(notes),
        ])
    }

    /// Counters, what went wrong, and what cannot be shown, as JSON.
    func counters() throws -> JSONValue {
        var counters: [String: JSONValue] = [:]
        for line in try lines("stats") {
            let parts = line.split(separator: " ")
            if parts.count == 2 { counters[String(parts[0])] = Int64(parts[1]).map { .integer($0) } }
        }
        func list(_ name: String) throws -> JSONValue { .list(try lines(name).map { .text(String($0)) }) }
        return .object([
            "mount": .text(root), "ref": .text(String(try lines("ref").first ?? "")), "counters": .object(counters),
            "errors": try list("errors"), "not_shown": try list("unshown"),
        ])
    }

    /// Has the mount do something.
    /// - Throws: `LakeError` with the reason in the mount's words.
    func order(_ text: String, _ name: String) throws {
        let descriptor = unsafe open(control + name, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(name) }
        defer { close(descriptor) }
        // One write is one order; an empty one is a line.
        let bytes = Array((text + "\n").utf8)
        let count = unsafe write(descriptor, bytes, bytes.count)
        guard count == bytes.count else { throw failure(name) }
    }

    private func failure(_ name: String) -> LakeError {
        let number = errno
        if let text = try? read("errors"),
            let line = text.split(separator: "\n").last(where: { $0.hasPrefix(name + ": ") })
        {
            return LakeError(.unavailable, String(line.dropFirst(name.count + 2)))
        }
        return LakeError(.unavailable, unsafe "\(control)\(name): \(String(cString: strerror(number)))")
    }

    /// Makes durable what was written in the mount.
    func synchronize() throws {
        let descriptor = unsafe open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("sync") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("sync") }
    }
}

extension Command {
    /// `lakefs://repo/ref/prefix` or `repo@ref`.
    private static func target(_ invocation: Invocation) throws -> (repository: String, ref: String, prefix: String?) {
        let text = invocation.arguments[0]
        if !text.contains("://"), let mark = text.firstIndex(of: "@"), mark > text.startIndex,
            text.index(after: mark) < text.endIndex
        {
            return (String(text[..<mark]), String(text[text.index(after: mark)...]), nil)
        }
        let parts = text.dropFirst(LakeURI.scheme.count).split(separator: "/", maxSplits: 2)
        guard text.hasPrefix(LakeURI.scheme), parts.count < 3 else {
            let (_, repository, ref, path) = try invocation.path()
            return (repository, ref, path.isEmpty ? nil : path)
        }
        let (_, repository, ref) = try invocation.ref()
        return (repository, ref, nil)
    }

    /// A number that a flag has; octal for permissions.
    private static func number(_ flag: String, _ invocation: Invocation, radix: Int = 10) throws -> Int? {
        guard let text = invocation.value(flag) else { return nil }
        guard let number = UInt32(text, radix: radix) else {
            throw UsageError(
                "invalid argument \"\(text)\" for \"--\(flag)\" flag: it must be a number\(radix == 8 ? " such as 022" : "")"
            )
        }
        return Int(number)
    }

    /// What is asked of a server that mounts.
    private static func mountMessage(_ invocation: Invocation) throws -> API.Mount {
        var (repository, ref, prefix) = try target(invocation)
        if invocation.has("pin"), !ref.hasSuffix("@") { ref += "@" }
        var message = API.Mount(
            repository: repository, ref: ref, directory: Files.absolute(invocation.arguments[1]),
            readOnly: invocation.has("read-only") ? true : nil)
        message.prefix = prefix
        message.noOpen = invocation.has("no-open") ? true : nil
        message.syncOnClose = invocation.has("sync-on-close") ? true : nil
        message.allowOther = invocation.has("allow-other") ? true : nil
        message.uid = try number("uid", invocation)
        message.gid = try number("gid", invocation)
        message.umask = try number("umask", invocation, radix: 8)
        return message
    }

    static let mountCommands: [Command] = [
        Command(
            path: ["mount"], arguments: ["<ref or path URI, or repository@ref>", "<folder>"],
            summary: "Mount a ref, or a folder of it, on an empty folder: a branch read-write, anything else read-only",
            example: "mkdir -p data && lakefuse mount lakefs://demo/main data",
            flags: [
                Flag(name: "read-only", description: "mount a branch read-only too"),
                Flag(name: "pin", description: "mount the commit that a branch stands on now, read-only"),
                Flag(name: "sync-on-close", description: "a close returns when the file is on disk"),
                Flag(
                    name: "no-open",
                    description:
                        "of a tag, a commit or with --pin: files are opened and closed without a request; for many small ones. No .lake/ then"
                ),
                Flag(name: "uid", value: "UID", description: "owner of what says nothing of an owner"),
                Flag(name: "gid", value: "GID", description: "group of what says nothing of a group"),
                Flag(
                    name: "umask", value: "MASK",
                    description: "permissions that what says nothing of them does not have, such as 022"),
                Flag(
                    name: "allow-other",
                    description: "let other users in (who may at all: user_allow_other of fuse.conf); root's mounts do"),
            ] + RemoteMountCommand.flags
        ) { invocation in
            let message = try mountMessage(invocation)
            if try invocation.has("remote") || RemoteMountCommand.isElsewhere(invocation.client.endpoint) {
                try RemoteMountCommand.run(invocation, message)
            } else {
                try invocation.client.post(["mounts"], message, api: "lakefuse")
            }
            Output.line(
                "mounted lakefs://\(message.repository)/\(message.ref)\(message.prefix.map { "/" + $0 } ?? "") on \(message.directory)"
            )
        },
        Command(
            path: ["umount"], arguments: ["<folder>"], optional: 1,
            summary: "Unmount a folder, or the mount that you are in; what was written is published first",
            example: "lakefuse umount data",
            flags: [
                Flag(
                    name: "keep-unpushed",
                    description:
                        "of a server elsewhere that does not answer: what it does not have waits until it is mounted again"
                )
            ]
        ) { invocation in
            let folder = try invocation.arguments.first.map { Files.absolute($0) } ?? MountedFolder().root
            // Who is in it holds it: this program at least need not.
            unsafe chdir("/")
            // A mount of a server elsewhere is a process of this machine.
            if MountTable.source(of: folder)?.hasPrefix("lakefs+") == true {
                // One whose process died says nothing any more: what it kept is there when it is mounted again.
                if let mount = try? MountedFolder(folder), !invocation.has("keep-unpushed"),
                    try !mount.read("stats").contains("pushes_by_hand 1\n")
                {
                    try mount.order("now", "push")
                }
                guard unsafe umount2(folder, 0) == 0 || MountTable.unmountAsUser(folder) else {
                    throw LakeError(.unavailable, "\(folder) is in use: close what is open in it, and leave it")
                }
                return
            }
            unsafe try invocation.client.send("DELETE", ["mounts"], [("directory", folder)], api: "lakefuse")
        },
        Command(
            path: ["mount", "status"], arguments: ["<folder>"], optional: 1,
            summary: "Show counters of a mount, what waits in it, and what went wrong",
            example: "lakefuse mount status data"
        ) { invocation in
            let mount = try MountedFolder(invocation.arguments.first)
            if invocation.isJSON { return Output.json(try mount.counters()) }
            Output.write("mount \(mount.root)\nref \(try mount.read("ref"))\(try mount.read("stats"))")
            let errors = try mount.read("errors")
            Output.write(errors.isEmpty ? "errors none\n" : "errors:\n\(errors)")
            let unshown = try mount.read("unshown")
            if !unshown.isEmpty { Output.write("keys that are not shown:\n\(unshown)") }
        },
        Command(
            path: ["status"], arguments: ["<folder>"], optional: 1,
            summary: "Show what a mount shows, and what was changed in it",
            example: "lakefuse status data"
        ) { invocation in
            let mount = try MountedFolder(invocation.arguments.first)
            if invocation.isJSON { return Output.json(try mount.status()) }
            Output.write(try mount.read("status"))
        },
        Command(
            path: ["switch"], arguments: ["<ref>"],
            summary: "Have the mount that you are in show another branch, tag or commit",
            example: "cd data && lakefuse switch dev"
        ) { invocation in
            let mount = try MountedFolder()
            let ref = invocation.arguments[0]
            try mount.order(ref, "ref")
            let shown = try mount.read("ref").split(separator: "\n").first ?? "nothing"
            Output.line("\(mount.root) shows \(shown)")
            if FileManager.default.currentDirectoryPath != mount.root {
                Output.note(
                    "this shell's folder is still the old ref's: cd to \(mount.root) to see and change the new one")
            }
        },
        Command(
            path: ["sync"], arguments: ["<folder>"], optional: 1,
            summary: "Return when all that was written in a mount is on disk",
            example: "lakefuse sync data"
        ) { try MountedFolder($0.arguments.first).synchronize() },
        Command(
            path: ["push"], arguments: ["<folder>"], optional: 1,
            summary: "Publish what was written in a mount now, and return when the branch has it",
            example: "lakefuse push data"
        ) { try MountedFolder($0.arguments.first).order("now", "push") },
        Command(
            path: ["recover"], arguments: ["<path>"], optional: 1,
            summary:
                "List files of a mount that were being written when the server died; with a path, or 'all', say that they are whole",
            example: "cd data && lakefuse recover all"
        ) { invocation in
            let mount = try MountedFolder()
            if let path = invocation.arguments.first {
                try mount.order(path, "recover")
            } else {
                Output.write(try mount.read("recover"))
            }
        },
        Command(path: ["mounts"], summary: "List mounts", example: "lakefuse mounts") { invocation in
            let mounts = try invocation.client.get(API.MountList.self, ["mounts"], api: "lakefuse").mounts
            if invocation.isJSON { return Output.json(mounts) }
            for mount in mounts {
                Output.line(
                    "lakefs://\(mount.repository)/\(mount.ref)\(mount.prefix.map { "/" + $0 } ?? "")\t\(mount.directory)\t\(mount.readOnly == true ? "read-only" : "read-write")"
                )
            }
        },
    ]
}

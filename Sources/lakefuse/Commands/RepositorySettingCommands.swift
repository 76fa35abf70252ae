import Foundations
import LakeAPI
import Transport
import Versioning

extension Command {
    private static func rules(_ repository: String) -> [String] {
        ["repositories", repository, "settings", "gc_rules"]
    }

    /// JSON over several lines, as lakectl writes it.
    private static func indented(_ message: some JSONWritable) -> String {
        var text: [UInt8] = []
        var (depth, isText, isEscaped) = (0, false, false)
        func line() { text += [0x0a] + [UInt8](repeating: 0x20, count: 2 * depth) }
        for byte in Coding.encode(message) {
            if isText {
                text.append(byte)
                isText = byte != 0x22 || isEscaped
                isEscaped = byte == 0x5c && !isEscaped
                continue
            }
            switch byte {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                text.append(byte)
                line()
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                line()
                text.append(byte)
            case UInt8(ascii: ","):
                text.append(byte)
                line()
            case UInt8(ascii: ":"): text += [byte, 0x20]
            default:
                isText = byte == 0x22
                text.append(byte)
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func file(_ name: String) throws -> [UInt8] {
        return try Files.input(name)
    }

    /// Asks after a task until it is done.
    /// - Parameter look: whether it is done, and what it has failed with.
    private static func wait(_ invocation: Invocation, _ look: () throws -> (isDone: Bool, error: String?)) throws {
        let (interval, most) = (invocation.milliseconds("poll-interval"), invocation.milliseconds("timeout"))
        let started = Timestamp.monotonicMilliseconds()
        let progress = Progress("waiting", isShown: true)
        defer { progress.end() }
        while true {
            let (isDone, error) = try look()
            if let error { throw CommandError(error) }
            if isDone { return }
            guard Timestamp.monotonicMilliseconds() - started < Int64(most) else {
                throw CommandError("timed out: the task goes on at the server", hint: "--timeout")
            }
            progress.add(things: 1)
            sleep(milliseconds: interval)
        }
    }

    private static func checkInterval(_ invocation: Invocation) throws {
        guard invocation.milliseconds("poll-interval") >= 1000 else {
            throw CommandError("Poll interval must be at least 1s")
        }
    }

    static let settingCommands: [Command] = [
        Command(
            path: ["gc", "get-config"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Show the garbage collection policy for this repository",
            example: "lakectl gc get-config lakefs://demo",
            flags: [Flag(name: "json", short: "p", description: "get rules as JSON")], isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            let found = try invocation.client.get(API.GarbageCollectionRules.self, rules(uri.repository))
            if invocation.isJSON { return Output.json(found) }
            if invocation.has("json") { return Output.write(indented(found)) }
            Output.write(
                "Default Retention Days: \(found.defaultRetentionDays)\nBranch Rules: \n"
                    + found.branches.map { "  - Branch: \($0.branchId)\n    Retention Days: \($0.retentionDays)\n" }
                    .joined())
        },
        Command(
            path: ["gc", "set-config"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Set garbage collection policy JSON",
            example: "lakectl gc set-config lakefs://demo --filename gc.json",
            flags: [
                .required(
                    Flag(
                        name: "filename", short: "f", value: "string",
                        description: "file containing the GC policy as JSON"))
            ], isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            let bytes = try file(invocation.value("filename")!)
            let wanted: API.GarbageCollectionRules
            do { wanted = try Coding.decode(API.GarbageCollectionRules.self, bytes) } catch {
                throw CommandError(
                    bytes.isEmpty || !"}]".utf8.contains(bytes.last { !" \n\r\t".utf8.contains($0) } ?? 0)
                        ? "unexpected EOF" : "\(invocation.value("filename")!): \(error)",
                    hint: #"{"default_retention_days": 21, "branches": [{"branch_id": "main", "retention_days": 28}]}"#)
            }
            try invocation.client.post(rules(uri.repository), wanted, method: "PUT")
        },
        Command(
            path: ["gc", "delete-config"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Deletes the garbage collection policy for the repository",
            example: "lakectl gc delete-config lakefs://demo", isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            unsafe try invocation.client.send("DELETE", rules(uri.repository))
        },
        Command(
            path: ["gc", "prepare-async"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Runs (async) PrepareGarbageCollectionCommits on the repository",
            example: "lakectl gc prepare-async lakefs://demo", isHidden: true, isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            let answer = unsafe try invocation.client.send(
                "POST", ["repositories", uri.repository, "gc", "prepare_commits", "async"])
            let made = try Coding.decode(API.TaskCreation.self, answer.body)
            Output.line(
                "Started prepare GC commits task \(made.id).\n\nCheck it using\n    lakectl gc check-async \(uri.description) --id \(made.id)"
            )
        },
        Command(
            path: ["gc", "check-async"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Check status of (async) PrepareGarbageCollectionCommits",
            example: "lakectl gc check-async lakefs://demo --id GCPCexample",
            flags: [.required(Flag(name: "id", value: "string", description: "ID returned from \"gc prepare-async\""))],
            isHidden: true, isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            let found = try invocation.client.get(
                API.PrepareGarbageCollectionCommitsStatus.self,
                ["repositories", uri.repository, "gc", "prepare_commits", "status"], [("id", invocation.value("id"))])
            if invocation.isJSON { return Output.json(found) }
            Output.line(
                "Task ID: \(found.taskId)\nCompleted: \(found.completed)\nUpdated: \(found.updateTime)"
                    + (found.error.map { "\nError: \($0.message)" } ?? "")
                    + (found.result.map {
                        "\nRun ID: \($0.runId)\nCommits: \($0.gcCommitsLocation)\nAddresses: \($0.gcAddressesLocation)"
                    } ?? ""))
        },
        Command(
            path: ["refs-dump"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Dumps refs (branches, commits, tags) to the underlying object store",
            example: "lakectl refs-dump lakefs://demo --output refs.json",
            flags: [
                Flag(name: "output", short: "o", value: "string", standard: "stdout", description: "output filename"),
                .pollInterval, .timeout,
            ], isHidden: true, isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            try checkInterval(invocation)
            let client = try invocation.client
            let parts = ["repositories", uri.repository, "dump"]
            let answer = unsafe try client.send("POST", parts)
            let task = try Coding.decode(API.TaskCreation.self, answer.body)
            var refs: API.RefsDump?
            try wait(invocation) {
                let found = try client.get(API.RepositoryDumpStatus.self, parts, [("task_id", task.id)])
                refs = found.refs
                return (found.done, found.error)
            }
            guard let refs else { throw CommandError("the dump has no refs") }
            let text = indented(refs) + "\n"
            guard let file = invocation.value("output"), file != "stdout", file != "-" else {
                return Output.write(text)
            }
            Output.line("Writing refs to \(file)")
            try Files.write(Array(text.utf8), to: file, mode: 0o644)
        },
        Command(
            path: ["refs-restore"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "restores refs (branches, commits, tags) from the underlying object store to a bare repository.",
            example: "lakectl refs-restore lakefs://example-bare --manifest refs.json",
            flags: [
                .pollInterval, .timeout,
                .required(
                    Flag(
                        name: "manifest", value: "string",
                        description:
                            "path to a refs manifest json file (as generated by `refs-dump`). Alternatively, use \"-\" to read from stdin",
                        isHidden: true)),
            ], isHidden: true, isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            try checkInterval(invocation)
            Output.line("Repository: \(uri.description)")
            let bytes = try file(invocation.value("manifest")!)
            let refs: API.RefsRestore
            do { refs = try Coding.decode(API.RefsRestore.self, bytes) } catch {
                throw CommandError(
                    "\(invocation.value("manifest")!) is no manifest of refs", hint: "refs-dump writes one")
            }
            let client = try invocation.client
            let parts = ["repositories", uri.repository, "restore"]
            let task = try client.post(API.TaskCreation.self, parts, refs)
            try wait(invocation) {
                let found = try client.get(API.RepositoryRestoreStatus.self, parts, [("task_id", task.id)])
                return (found.done, found.error)
            }
            Output.line("\nAll references restored successfully!")
        },
        Command(
            path: ["import"], arguments: ["--from <object store URI> --to <lakeFS path URI>"], takes: 0...0,
            summary: "Import data from external source to a destination branch",
            example: "lakectl import --from s3://bucket/data/ --to lakefs://demo/dev/data/",
            flags: [
                .allowsEmptyMessage,
                .required(
                    Flag(
                        name: "from", value: "string",
                        description:
                            "prefix to read from (e.g. \"s3://bucket/sub/path/\"). must not be in a storage namespace")),
                .message, .meta, Flag(name: "no-progress", description: "switch off the progress output"),
                .required(
                    Flag(
                        name: "to", value: "string",
                        description: "lakeFS path to load objects into (e.g. \"lakefs://repo/branch/sub/path/\")")),
            ], isLakectl: true
        ) { invocation in
            let (_, repository, branch, path) = try invocation.path(invocation.value("to")!, "lakeFS path URI")
            let from = invocation.value("from")!
            let client = try invocation.client
            let config = try client.get(API.Config.self, ["config"])
            if let storage = config.storageConfig {
                let scheme = from.prefix { $0 != ":" }
                let wanted = ["s3": "s3", "gs": "gs", "azure": "https", "local": "local", "mem": "mem"]
                guard wanted[storage.blockstoreType].map({ $0 == scheme }) ?? true else {
                    throw CommandError(
                        "import source '\(from)' doesn't match current configured storage '\(storage.blockstoreType)'")
                }
            }
            do { _ = try client.get(API.Ref.self, ["repositories", repository, "branches", branch]) } catch let error
                as LakeClientError where error.status == 404
            { throw CommandError("Target branch '\(branch)', does not exists!") }
            let metadata = try invocation.metadata()
            let parts = ["repositories", repository, "branches", branch, "import"]
            let task = try client.post(
                API.ImportCreationResponse.self, parts,
                API.ImportCreation(
                    paths: [
                        API.ImportLocation(
                            type: from.hasSuffix("/") ? "common_prefix" : "object", path: from, destination: path)
                    ],
                    commit: API.CommitCreation(
                        message: invocation.value("message") ?? "Import objects",
                        metadata: metadata.isEmpty ? nil : metadata)))
            let progress = Progress("import", isShown: !invocation.has("no-progress"))
            defer { progress.end() }
            var pause = 20
            while true {
                let found = try client.get(API.ImportStatus.self, parts, [("id", task.id)])
                progress.set(things: Int(found.ingestedObjects ?? 0))
                if let error = found.error { throw CommandError("Import failed: \(error.message)") }
                if found.completed {
                    progress.end()
                    guard let commit = found.commit else { return }
                    return Output.write(
                        "Import of \(found.ingestedObjects ?? 0) object(s) into \"\(branch)\" completed.\nMetaRange ID: \(found.metarangeId ?? "")\nCommit ID: \(commit.id)\nMessage: \(commit.message)\nTimestamp: \(Output.time(commit.creationDate))\nParents: \(commit.parents.joined(separator: ", "))\n"
                    )
                }
                sleep(milliseconds: pause)
                pause = min(1000, pause * 2)
            }
        },
    ]
}

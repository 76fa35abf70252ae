import Foundations
import LakeAPI
import Synchronization
import Versioning

/// Load for a server, and how it bore it.
private struct Load {
    private let width: Int, amount: Int

    init(_ invocation: Invocation) throws {
        width = max(1, min(1000, try invocation.number("parallelism", default: 1)))
        amount = max(0, try invocation.number("amount"))
    }

    /// Does something so many times, several at once, and tells how long each took.
    func run(_ what: String, _ body: @escaping @Sendable (Int) throws -> Void) throws {
        let pool = WorkerPool(name: "abuse", width: width)
        defer { pool.stop() }
        let tasks = PoolTasks(pool)
        let took = Mutex<(times: [Int64], failed: Int, reason: String)>(([], 0, ""))
        let started = Timestamp.monotonicMilliseconds()
        let progress = Progress(what, things: amount)
        for index in 0..<amount {
            try tasks.start {
                let begun = Timestamp.monotonicMilliseconds()
                do { try body(index) } catch {
                    took.withLock {
                        $0.failed += 1
                        $0.reason = Failure(error).message
                    }
                }
                took.withLock { $0.times.append(Timestamp.monotonicMilliseconds() - begun) }
                progress.add(things: 1)
            }
        }
        try tasks.waitForAll()
        progress.end()
        let seconds = max(0.001, Double(Timestamp.monotonicMilliseconds() - started) / 1000)
        let (times, failed, reason) = took.withLock { ($0.times.sorted(), $0.failed, $0.reason) }
        func percentile(_ part: Double) -> Int64 {
            times.isEmpty ? 0 : times[min(times.count - 1, Int(part * Double(times.count)))]
        }
        Output.line(
            "\(times.count) \(what) in \(Int(seconds * 1000)) ms, \(Int(Double(times.count) / seconds)) a second; ms: 50 % \(percentile(0.5)), 90 % \(percentile(0.9)), 99 % \(percentile(0.99)), most \(times.last ?? 0)"
        )
        guard failed > 0 else { return }
        guard failed < times.count else { throw CommandError("all failed, the last: \(reason)") }
        Output.note("\(failed) failed, the last: \(reason)")
    }
}

extension Command {
    private static func amount(of what: String) -> Flag {
        Flag(name: "amount", value: "int", standard: "1000000", description: "amount of \(what) to do")
    }
    private static func atOnce(_ what: String) -> Flag {
        Flag(
            name: "parallelism", value: "int", standard: "100", description: "amount of \(what) to do in parallel")
    }

    /// Asks for keys of a file, each time another.
    private static func load(
        _ what: String, _ invocation: Invocation,
        _ body: @escaping @Sendable (LakeClient, [String], String) throws -> Void
    ) throws {
        let (uri, repository, ref) = try invocation.ref(0, "source ref URI")
        Output.line("Source ref: \(uri.description)")
        let (client, keys) = (try invocation.client, try keys(invocation))
        try Load(invocation).run(what) { _ in try body(client, [repository, ref], keys.randomElement()!) }
    }

    /// Keys of a file, a line each.
    private static func keys(_ invocation: Invocation) throws -> [String] {
        let file = invocation.value("from-file")!
        let found = String(decoding: try Files.input(file), as: UTF8.self)
            .split(whereSeparator: \.isNewline).map(String.init)
        guard !found.isEmpty else { throw CommandError("\(file) names no keys") }
        return found
    }

    private static func link(_ client: LakeClient, _ repository: String, _ branch: String, _ path: String) throws {
        let parts = ["repositories", repository, "branches", branch, "staging", "backing"]
        let staging = try client.get(API.StagingLocation.self, parts, [("path", path)])
        try client.post(
            parts, query: [("path", path)],
            API.StagingMetadata(
                staging: staging, checksum: "00695c7307b0480c7b6bdc873cf05c15", sizeBytes: 0,
                contentType: "application/octet-stream"), method: "PUT")
    }

    static let abuseCommands: [Command] = [
        Command(
            path: ["abuse", "commit"], arguments: ["<branch URI>"], takes: 1...1,
            summary: "Commits to the source branch repeatedly",
            example: "lakectl abuse commit lakefs://demo/dev --amount 3 --gap 10ms",
            flags: [
                Flag(name: "amount", value: "int", standard: "100", description: "amount of commits to do"),
                Flag(name: "gap", value: "duration", standard: "2s", description: "duration to wait between commits"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, branch) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let client = try invocation.client
            let gap = invocation.milliseconds("gap")
            for index in 0..<max(0, try invocation.number("amount")) {
                let made = try client.post(
                    API.Commit.self, ["repositories", repository, "branches", branch, "commits"],
                    API.CommitCreation(message: "commit \(index)", allowEmpty: true))
                Output.line("commit \(index): \(made.id)")
                sleep(milliseconds: gap)
            }
        },
        Command(
            path: ["abuse", "create-branches"], arguments: ["<source ref URI>"], takes: 1...1,
            summary: "Create a lot of branches very quickly.",
            example: "lakectl abuse create-branches lakefs://demo/main --amount 5 --branch-prefix load",
            flags: [
                amount(of: "things"),
                Flag(
                    name: "branch-prefix", value: "string", standard: "abuse-",
                    description: "prefix to create branches under"),
                Flag(name: "clean-only", description: "only clean up past runs"),
                atOnce("things"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, ref) = try invocation.ref(0, "source ref URI")
            Output.line("Source ref: \(uri.description)")
            let client = try invocation.client
            let prefix = invocation.value("branch-prefix") ?? ""
            let parts = ["repositories", repository, "branches"]
            try client.pages(API.Ref.self, parts, [("prefix", prefix)]) { page in
                for branch in page { unsafe try client.send("DELETE", parts + [branch.id]) }
                return true
            }
            guard !invocation.has("clean-only") else { return }
            try Load(invocation).run("branches") { index in
                try client.post(parts, API.BranchCreation(name: "\(prefix)-\(index)", source: ref))
            }
        },
        Command(
            path: ["abuse", "random-write"], arguments: ["<branch URI>"], takes: 1...1,
            summary: "Generate random writes to the source branch",
            example: "lakectl abuse random-write lakefs://demo/dev --amount 10",
            flags: [
                amount(of: "writes"), atOnce("writes"),
                Flag(name: "prefix", value: "string", standard: "abuse/", description: "prefix to create paths under"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, branch) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let client = try invocation.client
            let prefix = invocation.value("prefix") ?? ""
            try Load(invocation).run("writes") { try link(client, repository, branch, "\(prefix)\($0)") }
        },
        Command(
            path: ["abuse", "link-same-object"], arguments: ["<branch URI>"], takes: 1...1,
            summary: "Link the same object in parallel.",
            example: "lakectl abuse link-same-object lakefs://demo/dev --amount 10",
            flags: [
                amount(of: "link object"),
                Flag(name: "key", value: "string", standard: "linked-object", description: "key used for the test"),
                atOnce("link object"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, branch) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let client = try invocation.client
            let key = invocation.value("key")!
            try Load(invocation).run("links") { _ in try link(client, repository, branch, key) }
        },
        Command(
            path: ["abuse", "list"], arguments: ["<source ref URI>"], takes: 1...1, summary: "List from the source ref",
            example: "lakectl abuse list lakefs://demo/main --amount 10",
            flags: [
                amount(of: "lists"), atOnce("lists"),
                Flag(name: "prefix", value: "string", standard: "abuse/", description: "prefix to list under"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, ref) = try invocation.ref(0, "source ref URI")
            Output.line("Source ref: \(uri.description)")
            let client = try invocation.client
            let prefix = invocation.value("prefix") ?? ""
            try Load(invocation).run("lists") { _ in
                unsafe try client.send(
                    "GET", ["repositories", repository, "refs", ref, "objects", "ls"],
                    [("prefix", prefix), ("amount", "100")])
            }
        },
        Command(
            path: ["abuse", "random-read"], arguments: ["<source ref URI>"], takes: 1...1,
            summary: "Read keys from a file and generate random reads from the source ref for those keys.",
            example: "lakectl abuse random-read lakefs://demo/main --amount 5 --from-file keys.txt",
            flags: [
                amount(of: "reads"), .required(Flag.fromFile),
                atOnce("reads"),
            ], isLakectl: true
        ) { invocation in
            try load("reads", invocation) { client, place, key in
                unsafe try client.send(
                    "GET", ["repositories", place[0], "refs", place[1], "objects", "stat"], [("path", key)])
            }
        },
        Command(
            path: ["abuse", "random-delete"], arguments: ["<source ref URI>"], takes: 1...1,
            summary: "Delete keys from a file and generate random delete from the source ref for those keys.",
            example: "lakectl abuse random-delete lakefs://demo/dev --amount 5 --from-file keys.txt",
            flags: [
                amount(of: "reads"), .required(Flag.fromFile),
                atOnce("reads"),
            ], isLakectl: true
        ) { invocation in
            try load("deletions", invocation) { client, place, key in
                unsafe try client.send(
                    "DELETE", ["repositories", place[0], "branches", place[1], "objects"], [("path", key)])
            }
        },
        Command(
            path: ["abuse", "merge"], arguments: ["<branch URI>"], takes: 1...1,
            summary: "Merge non-conflicting objects to the source branch in parallel",
            example: "lakectl abuse merge lakefs://demo/dev --amount 2 --parallelism 1",
            flags: [
                Flag(name: "amount", value: "int", standard: "1000", description: "amount of merges to perform"),
                Flag(
                    name: "parallelism", value: "int", standard: "100",
                    description: "number of merges to perform in parallel"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, branch) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let client = try invocation.client
            try Load(invocation).run("merges") { index in
                let name = "abuse-merge-\(XID.make())"
                let parts = ["repositories", repository, "branches"]
                try client.post(parts, API.BranchCreation(name: name, source: branch))
                try link(client, repository, name, "abuse-merge/\(name)")
                try client.post(parts + [name, "commits"], API.CommitCreation(message: "commit \(index)"))
                try client.post(["repositories", repository, "refs", name, "merge", branch], API.Merge())
                unsafe try client.send("DELETE", parts + [name])
            }
        },
    ]
}

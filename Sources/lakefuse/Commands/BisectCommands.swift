import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import Versioning

/// A search for the commit that a fault came with, as it is kept between commands.
private struct Bisection: Codable {
    var repository: String
    /// Commits among which it is, the newest first: that one has the fault, and what comes before the last has not.
    var commits: [String]

    static func file(_ invocation: Invocation) -> String {
        (invocation.environment["HOME"] ?? "") + "/.lakectl.bisect.json"
    }

    init(_ invocation: Invocation) throws {
        guard let bytes = try? Files.read(Self.file(invocation)),  // Then none has begun.
            let found = try? JSONDecoder().decode(Bisection.self, from: Data(bytes)), !found.commits.isEmpty
        else { throw CommandError("You need to start by \"bisect start\"") }
        self = found
    }

    init(repository: String, commits: [String]) { (self.repository, self.commits) = (repository, commits) }

    func save(_ invocation: Invocation) throws {
        try Files.write(Array(JSONEncoder().encode(self)), to: Self.file(invocation), mode: 0o600)
    }

    var isFound: Bool { commits.count == 1 }
    /// Which is to be tested next: neither outcome leaves all of them.
    var next: Int { isFound ? 0 : max(1, (commits.count - 1) / 2) }

    mutating func note(isGood: Bool) {
        guard !isFound else { return }
        commits = isGood ? Array(commits[..<next]) : Array(commits[next...])
    }

    func tell(_ client: LakeClient) throws {
        let commit = try client.get(API.Commit.self, ["repositories", repository, "commits", commits[next]])
        Output.line("Repository: \(repository)")
        if isFound {
            Output.line("Found commit lakefs://\(repository)/\(commit.id) \(commit.message)")
        } else {
            let steps = Int(log2(Double(commits.count)))
            Output.line(
                "Bisecting: \(max(0, commits.count / 2 - 1)) commits left to test after this (roughly \(steps) steps)\nCurrent commit lakefs://\(repository)/\(commit.id) \(commit.message)"
            )
        }
    }
}

extension Command {
    private static func mark(_ invocation: Invocation, isGood: Bool) throws {
        var bisection = try Bisection(invocation)
        bisection.note(isGood: isGood)
        try bisection.save(invocation)
        try bisection.tell(invocation.client)
    }

    static let bisectCommands: [Command] = [
        Command(
            path: ["bisect", "start"], arguments: ["<bad ref URI> <good ref URI>"], takes: 2...2,
            summary: "Start a bisect session", example: "lakectl bisect start lakefs://demo/main lakefs://demo/main~4",
            isLakectl: true
        ) { invocation in
            let (_, repository, bad) = try invocation.ref(0, "bad ref URI")
            let (_, other, good) = try invocation.ref(1, "good ref URI")
            guard repository == other else {
                throw CommandError("both references must belong to the same repository")
            }
            let client = try invocation.client
            let end = try client.get(API.Commit.self, ["repositories", repository, "commits", good]).id
            var commits: [String] = []
            var isThere = false
            try client.pages(
                API.Commit.self, ["repositories", repository, "refs", bad, "commits"], [("first_parent", "true")]
            ) { page in
                for commit in page {
                    isThere = commit.id == end
                    if isThere { return false }
                    commits.append(commit.id)
                }
                return true
            }
            guard isThere, !commits.isEmpty else {
                throw CommandError("no commits lie between: \(good) is not before \(bad)")
            }
            let bisection = Bisection(repository: repository, commits: commits)
            try bisection.save(invocation)
            try bisection.tell(client)
        },
        Command(
            path: ["bisect", "good"], aliases: ["old"], takes: 0...0,
            summary: "Set current commit as 'good' commit that is known to be before the bug was introduced",
            example: "lakectl bisect good", isLakectl: true
        ) { try mark($0, isGood: true) },
        Command(
            path: ["bisect", "bad"], aliases: ["new"], takes: 0...0,
            summary: "Set 'bad' commit that is known to contain the bug", example: "lakectl bisect bad", isLakectl: true
        ) { try mark($0, isGood: false) },
        Command(
            path: ["bisect", "log"], takes: 0...0, summary: "Print out the current bisect state",
            example: "lakectl bisect log", isLakectl: true
        ) { try Bisection($0).tell($0.client) },
        Command(
            path: ["bisect", "view"], takes: 0...0, summary: "Current bisect commits", example: "lakectl bisect view",
            isLakectl: true
        ) { invocation in
            let bisection = try Bisection(invocation)
            let client = try invocation.client
            var texts: [String] = []
            for id in bisection.commits {
                texts.append(
                    text(
                        try client.get(API.Commit.self, ["repositories", bisection.repository, "commits", id]),
                        showsMetaRange: true))
            }
            Pager.write(String(("\n" + texts.joined()).dropLast()))
        },
        Command(
            path: ["bisect", "reset"], takes: 0...0, summary: "Clean up the bisection state",
            example: "lakectl bisect reset", isLakectl: true
        ) { invocation in
            unsafe unlink(Bisection.file(invocation))
            Output.line("Cleared bisect session")
        },
        Command(
            path: ["bisect", "run"], arguments: ["<command>"], takes: 1...Int.max,
            summary: "Bisecting based on command status code",
            example: "lakectl bisect run 'lakectl fs stat lakefs://demo/$BISECT_COMMIT/README.md'", isLakectl: true
        ) { invocation in
            var bisection = try Bisection(invocation)
            let client = try invocation.client
            while !bisection.isFound {
                try bisection.tell(client)
                // The command finds what it is to look at in its environment.
                unsafe setenv("BISECT_REPOSITORY", bisection.repository, 1)
                unsafe setenv("BISECT_COMMIT", bisection.commits[bisection.next], 1)
                let status = unsafe system(invocation.arguments.joined(separator: " "))
                guard status >= 0, status & 0x7f == 0 else { throw CommandError("the command was ended", status: 130) }
                // A shell's words for a command that is not there, cannot be run, or was ended.
                guard status >> 8 < 126 else {
                    throw CommandError("the command could not be run: exit \(status >> 8)")
                }
                bisection.note(isGood: status == 0)
                try bisection.save(invocation)
            }
            try bisection.tell(client)
        },
    ]
}

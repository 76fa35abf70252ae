/// Flags that several commands have.
extension Command.Flag {
    static let amount = Self(name: "amount", value: "int", standard: "100", description: "how many results to return")
    static let after = Self(
        name: "after", value: "string", description: "show results after this value (used for pagination)")
    static let prefix = Self(
        name: "prefix", value: "string", description: "filter results by prefix (used for pagination)")
    static let message = Self(name: "message", short: "m", value: "string", description: "commit message")
    static let meta = Self(
        name: "meta", value: "strings", description: "key value pair in the form of key=value", repeats: true)
    static let allowEmptyMessage = Self(name: "allow-empty-message", description: "allow an empty commit message")
    static let allowsEmptyMessage = Self(
        name: "allow-empty-message", standard: "true", description: "allow an empty commit message")
    static let yes = Self(name: "yes", short: "y", description: "Automatically say yes to all confirmations")
    static let noProgress = Self(
        name: "no-progress", description: "Disable progress bar animation for IO operations")
    static let parallelism = Self(
        name: "parallelism", short: "p", value: "int", standard: "25",
        description: "Max concurrent operations to perform")
    static let preSign = Self(
        name: "pre-sign", standard: "true",
        description: "Use pre-signed URLs when downloading/uploading data (recommended)")
    static let gitignore = Self(
        name: "gitignore", standard: "true",
        description: "Update .gitignore file when working in a git repository context")
    static let firstParent = Self(
        name: "first-parent", description: "follow only the first parent commit upon seeing a merge commit")
    static let contentType = Self(name: "content-type", value: "string", description: "MIME type of contents")
    static let fromFile = Self(
        name: "from-file", value: "string", description: "read keys from this file (\"-\" for stdin)")
    static let pollInterval = Self(
        name: "poll-interval", value: "duration", standard: "3s", description: "poll status check interval")
    static let timeout = Self(
        name: "timeout", value: "duration", standard: "1h0m0s", description: "timeout for polling status checks")
    static let groupID = Self(name: "id", value: "string", description: "Group identifier")
    static let policyID = Self(name: "id", value: "string", description: "Policy identifier")
    static let policy = Self(name: "policy", value: "string", description: "Policy identifier")
    static let userID = Self(
        name: "id", value: "string", description: "Username (email for password-based users)")
    static let perhapsUserID = Self(
        name: "id", value: "string",
        description: "Username (email for password-based users, default: current user)")
    static let perhapsUser = Self(
        name: "user", value: "string",
        description: "Username (email for password-based users, default: current user)")
    static let principalUser = Self(
        name: "id", value: "string", description: "lakeFS Username (default: current user)")
    static let principalID = Self(
        name: "principal-id", value: "string", description: "External principal ID (e.g., AWS IAM role ARN)")

    /// The configuration of a server, for commands that are about one.
    static let serverConfiguration = Self(
        name: "config", short: "c", value: "FILE", description: "configuration file (YAML, lakeFS's names)")
    /// The folder of a lake that is not running.
    static let stoppedData = Self(
        name: "data", value: "DIR", description: "folder of the lake, which must not be running (default .lakefuse)")
}

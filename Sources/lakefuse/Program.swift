import FoundationEssentials

/// This process, as it was called.
enum Program {
    static let version = "0.1.0"

    /// Its name and what follows. As the kernel has them: the runtime looks for them beside the environment, which a
    /// preloaded library may have moved.
    static let rawArguments: [[UInt8]] = {
        guard let bytes = try? Files.read("/proc/self/cmdline"), !bytes.isEmpty else {
            return CommandLine.arguments.map { Array($0.utf8) }
        }
        return bytes.dropLast().split(separator: 0, omittingEmptySubsequences: false).map { Array($0) }
    }()

    static let arguments = rawArguments.map { String(decoding: $0, as: UTF8.self) }
}

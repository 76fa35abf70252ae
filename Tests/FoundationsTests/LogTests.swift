import FoundationEssentials
import Glibc
import LakeTestSupport
import Synchronization
import Testing

@testable import Foundations

/// The log's file is turned by its size while many threads write to it.
@Suite struct LogTests {
    private let folder = TemporaryFolder()
    private var path: String { folder.path + "/log" }

    private func write(_ file: LogFile, _ text: String) {
        let count = unsafe Array(text.utf8).withUnsafeBytes {
            unsafe Glibc.write(file.descriptor, $0.baseAddress, $0.count)
        }
        file.wrote(count)
    }
    private func text(_ suffix: String = "") -> String? {
        FileManager.default.contents(atPath: path + suffix).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func filesAreTurnedAndSomeKept() throws {
        let file = try LogFile(path, mostBytes: 10, kept: 2)
        defer { close(file.descriptor) }
        for line in ["first\n", "second\n", "third\n", "fourth\n", "fifth\n", "sixth\n", "seventh\n"] {
            write(file, line)
        }
        #expect(text() == "seventh\n")
        #expect(text(".1") == "fifth\nsixth\n" && text(".2") == "third\nfourth\n" && text(".3") == nil)
        #expect(try Folder.names(of: folder.path).count == 3)
    }

    @Test func whatWasThereIsAddedTo() throws {
        var file = try LogFile(path, mostBytes: 20, kept: 1)
        write(file, "before\n")
        close(file.descriptor)
        file = try LogFile(path, mostBytes: 20, kept: 1)
        defer { close(file.descriptor) }
        write(file, "after\n")
        #expect(text() == "before\nafter\n")
        write(file, "and more\n")
        #expect(text() == "" && text(".1") == "before\nafter\nand more\n")
        // Moved away by another, it is begun anew when that says so.
        unsafe rename(path, path + ".moved")
        write(file, "late\n")
        try file.reopen()
        write(file, "new\n")
        #expect(text(".moved") == "late\n" && text() == "new\n")
    }

    @Test func zeroKeepsNoneAndZeroBytesTurnNothing() throws {
        let none = try LogFile(path, mostBytes: 5, kept: 0)
        defer { close(none.descriptor) }
        write(none, "12345\n")
        #expect(text() == "" && text(".1") == nil)
        let never = try LogFile(path + "-2", mostBytes: 0, kept: 3)
        defer { close(never.descriptor) }
        for _ in 0..<100 { write(never, "line\n") }
        #expect(text("-2")?.count == 500 && text("-2.1") == nil)
        #expect(throws: LakeError.self) { try LogFile("/nowhere/log", mostBytes: 0, kept: 0) }
    }

    @Test func noLineIsLostWhileThreadsWrite() throws {
        let file = try LogFile(path, mostBytes: 2000, kept: 1000)
        defer { close(file.descriptor) }
        let threads = (0..<4).map { number in
            Thread(name: "log writer") {
                for line in 0..<500 { write(file, "\(number) \(line)\n") }
            }
        }
        for thread in threads { thread.join() }
        var lines: [String] = []
        for name in try Folder.names(of: folder.path) {
            lines += String(decoding: FileManager.default.contents(atPath: folder.path + "/" + name)!, as: UTF8.self)
                .split(separator: "\n").map(String.init)
        }
        #expect(lines.count == 2000 && Set(lines).count == 2000)
        // How often it was turned depends on who ran when; that it was does not.
        #expect(try Folder.names(of: folder.path).count > 1)
    }
}

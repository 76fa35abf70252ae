import FoundationEssentials
import Testing

/// Who may import whom. The table of `docs/architecture.md`, with what it hurt to do without:
/// `CSodium` opens lakeFS's secret boxes; `CLinux` has the system calls that Swift's Glibc lacks.
@Suite struct ImportTests {
    private static let free: Set<String> = ["Glibc", "Synchronization", "Dispatch", "FoundationEssentials"]
    private static let allowed: [String: Set<String>] = [
        "Foundations": ["CCrypto", "CLinux"],
        "Versioning": ["Foundations", "CChecksum", "CZstd", "CSodium"],
        "Transport": ["Foundations", "CCurl", "CExpat"],
        "CacheStore": ["Foundations", "Versioning", "Transport", "CSQLite", "CPostgres"],
        "S3Backend": ["Foundations", "Versioning", "Transport", "CLinux"],
        "LakeAPI": ["Foundations", "Versioning", "Transport"],
        "LakeLocalServer": [
            "Foundations", "Versioning", "Transport", "LakeAPI", "CHTTP", "CYAML", "CChecksum",
            "CArchive", "CTLS", "CLDAP", "CLua", "CPattern", "CMarkdown", "CZstd", "CLZ4",
        ],
        "LakeFUSE": ["Foundations", "Versioning", "CacheStore", "LakeAPI", "CFUSE", "CLinux"],
        "lakefuse": [
            "Foundations", "Versioning", "Transport", "CacheStore", "S3Backend", "LakeAPI", "LakeLocalServer",
            "LakeFUSE", "CLinux",
        ],
    ]
    /// C libraries stay in the folder that wraps them.
    private static let homes = [
        "CHTTP": "LakeLocalServer/HTTP/", "CFUSE": "LakeFUSE/Kernel/", "CSQLite": "CacheStore/SQLite/",
        "CPostgres": "CacheStore/Postgres/",
        "CCurl": "Transport/", "CCrypto": "Foundations/Digests/", "CYAML": "LakeLocalServer/Actions/",
        "CExpat": "Transport/", "CLua": "LakeLocalServer/Actions/Lua/",
        "CPattern": "LakeLocalServer/Actions/", "CMarkdown": "LakeLocalServer/WebUI/",
        "CLZ4": "LakeLocalServer/Tables/",
    ]

    private static func files() -> [(module: String, path: String, text: String)] {
        let root = FileManager.default.currentDirectoryPath + "/Sources/"
        return ((try? FileManager.default.subpathsOfDirectory(atPath: root)) ?? []).filter { $0.hasSuffix(".swift") }
            .map { path in
                (
                    String(path.prefix { $0 != "/" }), path,
                    String(decoding: FileManager.default.contents(atPath: root + path) ?? Data(), as: UTF8.self)
                )
            }
    }

    @Test func everyImportIsInTheTable() throws {
        let files = Self.files()
        #expect(files.count > 50, "the sources were not found")
        for file in files {
            let allowed = try #require(Self.allowed[file.module], "no row for \(file.module)").union(Self.free)
            for line in file.text.split(separator: "\n") {
                let words = line.split(separator: " ").filter {
                    $0 != "package" && $0 != "public" && $0 != "internal" && $0 != "private"
                }
                guard words.first == "import", words.count == 2 else { continue }
                let module = String(words[1])
                #expect(allowed.contains(module), "\(file.path) imports \(module)")
                if let home = Self.homes[module] {
                    #expect(file.path.hasPrefix(home), "\(file.path) imports \(module), whose home is \(home)")
                }
            }
        }
    }

    /// `swift format` breaks code, not comments.
    @Test func noCommentIsTooWide() {
        for file in Self.files() {
            for (index, line) in file.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
            where line.utf8.count > 130 && line.count > 120 {
                let text = line.drop { $0 == " " }
                #expect(!text.hasPrefix("//") || text.hasPrefix("///    "), "\(file.path):\(index + 1)")
            }
        }
    }

    /// What comments name is in the clone.
    @Test func everyPageThatIsNamedIsHere() {
        let root = FileManager.default.currentDirectoryPath
        for file in Self.files() {
            for word in file.text.split(whereSeparator: {
                $0 == "`" || $0 == " " || $0 == "(" || $0 == "\n" || $0 == ","
            })
            where word.hasSuffix(".md") && !word.contains("://") && word.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) {
                let isHere = ["/docs/", "/", "/Sources/" + file.path.prefix { $0 != "/" } + "/SSTable/"].contains {
                    FileManager.default.fileExists(atPath: root + $0 + word)
                }
                #expect(isHere, "\(file.path) names \(word)")
            }
        }
    }

    /// A file is one type or one face of it (style.md section 1).
    @Test func noFileIsTooLong() {
        for file in Self.files() {
            #expect(
                file.text.split(separator: "\n", omittingEmptySubsequences: false).count <= 600,
                "\(file.path) has over 600 lines")
        }
    }
}

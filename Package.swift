// swift-tools-version: 6.3
import PackageDescription

/// Every target of ours is built with these; `Tests/ArchitectureTests` holds the table of who may import whom.
let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// A Debian library behind a module map.
func system(_ name: String, _ package: String) -> Target {
    .systemLibrary(name: name, providers: [.apt([package])])
}

func library(
    _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource] = []
) -> Target {
    .target(name: name, dependencies: dependencies, exclude: exclude, resources: resources, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies + ["Foundations", "LakeTestSupport"], swiftSettings: settings)
}

let package = Package(
    name: "lakefuse",
    products: [.executable(name: "lakefuse", targets: ["lakefuse"])],
    targets: [
        system("CSQLite", "libsqlite3-dev"),
        system("CPostgres", "libpq-dev"),
        system("CFUSE", "libfuse3-dev"),
        system("CCurl", "libcurl4-openssl-dev"),
        system("CCrypto", "libssl-dev"),
        system("CSodium", "libsodium-dev"),
        system("CChecksum", "libisal-dev"),
        system("CZstd", "libzstd-dev"),
        system("CHTTP", "libmicrohttpd-dev"),
        system("CExpat", "libexpat1-dev"),
        system("CYAML", "libyaml-dev"),
        system("CArchive", "libarchive-dev"),
        system("CTLS", "libgnutls28-dev"),
        system("CLDAP", "libldap-dev"),
        system("CLinux", "linux-libc-dev"),
        system("CMarkdown", "libcmark-gfm-dev"),
        system("CLZ4", "liblz4-dev"),
        system("CLua", "liblua5.2-dev"),
        system("CPattern", "libpcre2-dev"),
        library("Foundations", ["CCrypto", "CLinux"]),
        library("Versioning", ["Foundations", "CSodium", "CChecksum", "CZstd"], exclude: ["SSTable/README.md"]),
        library("Transport", ["Foundations", "CCurl", "CExpat"]),
        library("CacheStore", ["Foundations", "Versioning", "Transport", "CSQLite", "CPostgres"]),
        library("S3Backend", ["Foundations", "Versioning", "Transport", "CLinux"]),
        library("LakeAPI", ["Foundations", "Versioning", "Transport"]),
        library(
            "LakeLocalServer",
            [
                "Foundations", "Versioning", "Transport", "LakeAPI", "CHTTP", "CYAML", "CChecksum",
                "CArchive", "CTLS", "CLDAP", "CLua", "CPattern", "CMarkdown", "CZstd", "CLZ4",
            ], resources: [.embedInCode("WebUI/Assets")]),
        library("LakeFUSE", ["Foundations", "Versioning", "CacheStore", "LakeAPI", "CFUSE", "CLinux"]),
        .executableTarget(
            name: "lakefuse",
            dependencies: [
                "Foundations", "Versioning", "Transport", "CacheStore", "S3Backend", "LakeAPI", "LakeLocalServer",
                "LakeFUSE",
                "CLinux",
            ],
            swiftSettings: settings),
        .target(
            name: "LakeTestSupport", dependencies: ["Foundations", "Versioning"], path: "Tests/LakeTestSupport",
            swiftSettings: settings),
        tests("ArchitectureTests", []),
        tests("FoundationsTests", []),
        tests("VersioningTests", ["Versioning", "CacheStore", "S3Backend"]),
        tests("CacheStoreTests", ["CacheStore", "Versioning", "Transport"]),
        tests("S3BackendTests", ["S3Backend", "Versioning", "Transport"]),
        tests(
            "LakeLocalServerTests",
            ["LakeLocalServer", "Versioning", "CacheStore", "S3Backend", "LakeAPI", "Transport"]),
        tests("LakeFUSETests", ["LakeFUSE", "Versioning", "CacheStore", "S3Backend"]),
    ],
    swiftLanguageModes: [.v6])

// libFuzzer's: built by Tests/Fuzz/run.sh alone, since it has its own main and instruments everything it is made of.
if Context.environment["LAKEFUSE_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "Fuzz",
            dependencies: ["Foundations", "Versioning", "Transport", "LakeAPI", "LakeLocalServer"],
            path: "Tests/Fuzz", exclude: ["run.sh"],
            swiftSettings: [.unsafeFlags(["-parse-as-library"]), .enableExperimentalFeature("Extern")]))
}

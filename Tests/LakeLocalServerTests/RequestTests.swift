import Foundations
import Testing
import Transport
import Versioning

@testable import LakeLocalServer

/// What requests may be, before anyone looks at what they ask for.
@Suite struct RequestTests {
    @Test(
        arguments: [
            ("/a%2", [("Host", "x")]), ("/a%zz", [("Host", "x")]), ("/a?b=%", [("Host", "x")]),
            ("/a b", [("Host", "x")]), ("/a\u{1}", [("Host", "x")]),
            ("/", []), ("/", [("Host", "x"), ("host", "y")]),
            ("/", [("Host", "x"), ("Content-Length", "1"), ("Transfer-Encoding", "chunked")]),
            ("/", [("Host", "x"), ("Content-Length", "1"), ("Content-Length", "1")]),
            ("/", [("Host", "x"), ("Content-Length", "+1")]),
            ("/", [("Host", "x"), ("Content-Length", "99999999999999999999")]),
            ("/", [("Host", "x"), ("Transfer-Encoding", "gzip, chunked")]),
            ("/", [("Host", "x"), ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")]),
            ("/", [("Host", "x"), ("Content-Length ", "1")]), ("/", [("Host", "x"), ("If-None-Match", "")]),
            ("/", [("Host", "x"), ("Authorization", "a"), ("Authorization", "b")]),
        ] as [(String, [(String, String)])])
    func requestsThatMeanTwoThings(target: String, headers: [(String, String)]) {
        #expect(Request(method: "GET", target: target, headers: headers, version: "HTTP/1.1").fault != nil)
    }

    @Test func requestsThatMeanOne() {
        for target in ["/", "/a%2Fb?c=%00&d", "/ü", "/a//b?x=y&x=z"] {
            #expect(
                Request(method: "GET", target: target, headers: [("Host", "x")], version: "HTTP/1.1").fault == nil,
                "\(target)")
        }
        #expect(Request(method: "GET", target: "/", headers: [], version: "HTTP/1.0").fault == nil)
    }

    @Test(
        arguments: [
            ("http://lake:8000/a/b?c=d", "/a/b", "c=d"), ("HTTPS://lake/", "/", ""), ("http://lake", "/", ""),
            ("http://lake?c", "/", "c"), ("/http://lake/a", "/http://lake/a", ""),
        ] as [(String, String, String)])
    func wholeTargets(target: String, path: String, query: String) {
        let request = Request(method: "GET", target: target, headers: [])
        #expect(request.rawPath == path && request.rawQuery == query)
    }

    @Test func tokensCarryAnyKey() {
        for bytes: [UInt8] in [
            [], [0x61], Array("lakefuse-key:YQ".utf8), [0xff, 0xfe], [0x61, 0, 0x62], Array("ü/ö".utf8), [0x0a],
            Array("lakefuse-key:".utf8),
        ] {
            let text = PageToken.text(Key(bytes))
            #expect(PageToken.key(Key(text)) == Key(bytes), "\(text)")
        }
        #expect(PageToken.text("a/b") == "a/b")
    }
}

/// When connections are let go.
@Suite struct ConnectionTests {
    private func counters(
        received: UInt64 = 0, acknowledged: UInt64 = 0, unread: Int32 = 0, isPeerDone: Bool = false,
        isUnsent: Bool = false
    ) -> TCPCounters {
        TCPCounters(
            received: received, acknowledged: acknowledged, unread: unread, isPeerDone: isPeerDone,
            hasUnacknowledged: isUnsent)
    }

    /// A connection that is watched.
    private final class Watched {
        private var watch = ConnectionWatch(Connections.Limits())
        func enter(_ phase: Connections.Phase) { watch.enter(phase) }
        func mustGo(_ counters: TCPCounters, at now: Int64) -> Bool { watch.mustGo(counters, at: now) }
    }

    private func watch() -> Watched { Watched() }

    @Test func silentOnesGo() {
        let new = watch()
        #expect(
            !new.mustGo(counters(), at: 0) && !new.mustGo(counters(), at: 29_000) && new.mustGo(counters(), at: 31_000))
        let old = watch()
        old.enter(.working)
        old.enter(.waiting)
        #expect(
            !old.mustGo(counters(received: 10), at: 0) && !old.mustGo(counters(received: 10), at: 299_000)
                && old.mustGo(counters(received: 10), at: 301_000))
    }

    @Test func slowHeadsGo() {
        let watch = self.watch()
        watch.enter(.working)
        watch.enter(.waiting)
        #expect(!watch.mustGo(counters(received: 10), at: 0))
        for second in 1...30 {
            #expect(!watch.mustGo(counters(received: 10 + UInt64(second)), at: Int64(second) * 1000))
        }
        #expect(watch.mustGo(counters(received: 50), at: 32_000))
    }

    @Test func slowBodiesAndReadersGo() {
        for phase in [Connections.Phase.receiving, .answering] {
            let watch = self.watch()
            watch.enter(phase)
            func moved(_ bytes: UInt64) -> TCPCounters {
                counters(received: bytes, acknowledged: bytes, isUnsent: true)
            }
            #expect(
                !watch.mustGo(moved(0), at: 0) && !watch.mustGo(moved(2000), at: 50_000)
                    && !watch.mustGo(moved(2900), at: 100_000) && watch.mustGo(moved(2950), at: 111_000))
        }
        // Who has read all that there was to read waits for us.
        let waiting = watch()
        waiting.enter(.answering)
        #expect(!waiting.mustGo(counters(), at: 0) && !waiting.mustGo(counters(), at: 400_000))
        let working = watch()
        working.enter(.working)
        #expect(
            !working.mustGo(counters(isPeerDone: true), at: 0)
                && !working.mustGo(counters(isPeerDone: true), at: 900_000))
    }

    @Test func bodiesThatWereCutOffGoAtOnce() {
        let watch = self.watch()
        watch.enter(.receiving)
        #expect(
            !watch.mustGo(counters(received: 10, isPeerDone: true), at: 0)
                && watch.mustGo(counters(received: 10, isPeerDone: true), at: 250))
        let unread = self.watch()
        unread.enter(.receiving)
        #expect(
            !unread.mustGo(counters(received: 10, unread: 5, isPeerDone: true), at: 0)
                && !unread.mustGo(counters(received: 10, unread: 5, isPeerDone: true), at: 250))
    }

    @Test func whoWaitsLongestMakesRoom() throws {
        var limits = Connections.Limits()
        limits.most = 3
        limits.mostOfOneAddress = 2
        let connections = Connections(limits)
        let here = Peer(address: try #require(IPAddress("10.0.0.1")), port: 1)
        let there = Peer(address: try #require(IPAddress("10.0.0.2")), port: 1)
        // Descriptors that are none: shutting them down does nothing.
        #expect(connections.admit(100_001, here) && connections.admit(100_002, here))
        // The third of an address takes the place of its first, not of another's.
        #expect(connections.admit(100_003, here) && connections.admit(100_004, there))
        // All busy: nobody makes room.
        for socket: Int32 in [100_002, 100_003, 100_004] { connections.connection(socket)?.enter(.working) }
        #expect(!connections.admit(100_005, here) && !connections.admit(100_006, there))
        for socket: Int32 in [100_001, 100_002] { connections.ended(socket) }
        #expect(connections.admit(100_007, here) && connections.count == 3)
    }

    @Test func memoryIsGivenBack() {
        let budget = MemoryBudget(limitBytes: 100)
        do {
            var share = MemoryBudget.Share(of: budget)
            let grown = [share.grow(by: 60), share.grow(by: 50), share.grow(by: 40)]
            #expect(grown == [true, false, true] && budget.usedBytes == 100)
        }
        #expect(budget.usedBytes == 0)
    }
}

@Suite struct XMLTests {
    @Test(arguments: [
        "", "<a>", "<a></b>", "<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>", "<!DOCTYPE a><a/>", "<a>&e;</a>",
        String(repeating: "<a>", count: 20) + String(repeating: "</a>", count: 20),
        "<a>" + String(repeating: "<b/>", count: 100_000) + "</a>",
        "<a>" + String(repeating: "x", count: 9000) + "</a>",
    ])
    func documentsThatNobodyMeans(text: String) { #expect(XMLElement.parse(Array(text.utf8)) == nil) }

    @Test func aDocument() throws {
        let root = try #require(
            XMLElement.parse(Array("<?xml version=\"1.0\"?><n:a xmlns:n=\"u\"><b> x&amp;y </b><b>2</b></n:a>".utf8)))
        #expect(root.name == "a" && root.all("b").map(\.text) == [" x&y ", "2"])
    }
}

/// The checksum of two pieces together is that of the bytes one behind the other.
@Test(arguments: S3Checksum.Algorithm.allCases) func checksumsOfPieces(algorithm: S3Checksum.Algorithm) throws {
    func sum(_ bytes: ArraySlice<UInt8>) throws -> [UInt8] {
        var checksum = S3Checksum(algorithm)
        unsafe bytes.withUnsafeBytes { unsafe checksum.update($0) }
        return try #require(Base64.decode(checksum.base64()))
    }
    let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 3) }
    for cut in [0, 1, 2500, 4999, 5000] {
        let (first, second) = (try sum(bytes[..<cut]), try sum(bytes[cut...]))
        let whole = S3Checksum.combine(algorithm, first, second, length: Int64(5000 - cut))
        #expect(try whole == (algorithm.isCRC ? sum(bytes[...]) : nil))
    }
    #expect(S3Checksum.combine(algorithm, [1], [2], length: 1) == nil)
}

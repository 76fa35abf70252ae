import Foundations
import LakeAPI
import LakeTestSupport
import Testing
import Versioning

@testable import LakeLocalServer

@Suite struct ActionTests {
    private func action(_ text: String) throws -> Action { try Action(reading: Array(text.utf8)) }

    private func fault(_ text: String) -> String {
        do {
            try Action.validate(Array(text.utf8))
            return ""
        } catch { return LakeError(error).message }
    }

    @Test func aFileIsRead() throws {
        let action = try action(
            """
            name: an action
            description: what it does
            on:
              pre-commit:
                branches: [main, "release/*"]
              post-create-tag:
            hooks:
              - id: first
                type: webhook
                if: success() && !failure()
                properties: {url: "http://host/", timeout: 5, flags: [yes, true, 1.5, null, "1"]}
            """)
        #expect(action.name == "an action" && action.description == "what it does")
        #expect(action.events[.preCommit]?.count == 2 && action.events[.postCreateTag]?.isEmpty == true)
        let hook = try #require(action.hooks.first)
        #expect(hook.id == "first" && hook.kind == .webhook && hook.condition == "success() && !failure()")
        #expect(
            hook.properties == [
                "url": .text("http://host/"), "timeout": .integer(5),
                "flags": .list([.text("yes"), .flag(true), .number(1.5), .null, .text("1")]),
            ])
    }

    /// Each fault names its line and says what is allowed.
    @Test(arguments: [
        ("name: x\non: {pre-commit: }", "line 1: a name has two"), ("name: xy", "'on' is required"),
        ("name: xy\non:\n  pre-cook:\n", "line 3: events are prepare-commit"),
        ("name: xy\non: {pre-create-tag: {branches: [a]}}", "not supported in tag event types"),
        ("name: xy\non: {pre-commit: {branches: ['[a']}}", "syntax error in pattern (line 2"),
        ("name: xy\non: {pre-commit: {branches: main}}", "'branches' is no list"),
        (
            "name: xy\non: {pre-commit: }\nhooks:\n  - id: a\n    type: lua",
            "hook[0] missing ID: invalid action (line 4"
        ),
        (
            "name: xy\non: {pre-commit: }\nhooks:\n  - id: ab\n    type: dove",
            "line 5: types are webhook, airflow, lua, check"
        ),
        ("name: xy\non: {pre-commit: }\nhooks: [{id: ab, type: webhook, properties: {url: 7}}]", "url must be string"),
        (
            "name: xy\non: {pre-commit: }\nhooks: [{id: ab, type: lua, if: 'maybe()', properties: {script: x}}]",
            "unknown name maybe"
        ),
        ("name: [", "yaml: line"), ("name: xy\non: {pre-commit: }\nhooks: [7]", "missing ID"),
    ])
    func whatIsWrongIsTold(_ text: String, _ wanted: String) {
        let fault = fault(text)
        #expect(fault.contains(wanted), "\(fault)")
    }

    @Test func variablesAreNotAskedForWhenAFileIsOnlyLookedAt() {
        #expect(
            fault(
                "name: xy\non: {pre-commit: }\nhooks: [{id: ab, type: webhook, properties: {url: 'http://h', headers: {a: '{{ ENV.LAKEFSACTION_X }}'}}}]"
            ).isEmpty)
    }

    @Test(arguments: [
        ("main", "main", true), ("main", "main2", false), ("*", "a", true), ("*", "a/b", false), ("a/*", "a/b", true),
        ("a?c", "abc", true), ("a?c", "a/c", false), ("[a-c]x", "bx", true), ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("\\*", "*", true), ("\\*", "a", false), ("*-*-*", "a-b-c", true), ("*-*-*", "a-b", false), ("", "", true),
    ])
    func branchesMatchAsGosPathsDo(_ pattern: String, _ name: String, _ isMatch: Bool) throws {
        #expect(try #require(BranchPattern(pattern)).matches(name) == isMatch)
    }

    @Test(arguments: ["[", "[a", "[]", "[b-a]", "a\\", "[-a]", "[a-]"])
    func patternsThatAreNone(_ pattern: String) { #expect(BranchPattern(pattern) == nil) }

    /// A pattern that would make a backtracking matcher try for ever.
    @Test func manyStarsTakeNoTime() throws {
        let pattern = try #require(BranchPattern(String(repeating: "*a", count: 1000) + "b"))
        #expect(!pattern.matches(String(repeating: "a", count: 1000)))
    }

    @Test(arguments: [
        ("", false, true), ("", true, false), ("success()", true, false), ("failure()", true, true),
        ("true", true, true),
        ("!failure() || false", false, true), ("not (success() and failure())", false, true),
        ("success() == true", false, true), ("failure() != true", true, false), ("1 == 1", false, true),
        ("'a' == \"a\"", false, true),
    ])
    func conditions(_ text: String, _ hasFailed: Bool, _ holds: Bool) throws {
        #expect(try HookCondition.holds(text, hasFailed: hasFailed) == holds)
    }

    @Test(arguments: [
        "1", "success(", "success() &&", "a", "#", "(true", "'x", String(repeating: "(", count: 1000), "!1",
    ])
    func conditionsThatAreNone(_ text: String) {
        #expect(throws: HookCondition.Fault.self) { try HookCondition.holds(text, hasFailed: false) }
    }

    @Test func secretsAreFilledInAndHidden() throws {
        var environment = HookEnvironment(["LAKEFSACTION_A": "secret", "HOME": "/root"])
        let filled = try environment.fill(
            "x {{ ENV.LAKEFSACTION_A }}-{{ENV.LAKEFSACTION_A}} {{ y }} {{ env.LAKEFSACTION_A }}")
        #expect(filled.value == "x secret-secret {{ y }} {{ env.LAKEFSACTION_A }}" && filled.shown == "*******")
        #expect(try environment.fill("{{ ENV.HOME }}").value.isEmpty)
        #expect(throws: HookEnvironment.Missing.self) { try environment.fill("{{ ENV.LAKEFSACTION_B }}") }
        environment.isEnabled = false
        #expect(try environment.fill("{{ ENV.LAKEFSACTION_A }}").value.isEmpty)
    }

    @Test func aliasesAreCountedAndDepthIsBounded() {
        let bomb =
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + (0..<8).map { level in
                let name = { String(UnicodeScalar(UInt8(97 + $0))) }
                return
                    "\(name(level + 1)): &\(name(level + 1)) [\(Array(repeating: "*" + name(level), count: 10).joined(separator: ","))]\n"
            }.joined()
        #expect(throws: LakeError.self) { try YAMLNode.read(Array(bomb.utf8)) }
        #expect(throws: LakeError.self) {
            try YAMLNode.read(Array((String(repeating: "[", count: 500) + String(repeating: "]", count: 500)).utf8))
        }
    }
}

@Suite struct LuaValueTests {
    @Test func valuesPassAsTheyAre() throws {
        let value = LuaValue.table([
            "n": .null, "t": .flag(true), "d": .number(-0.5), "s": .bytes([0, 255, 10]),
            "l": .list([.number(1), .list([]), .table([:])]),
        ])
        var bytes: [UInt8] = []
        LuaWire.append(value, to: &bytes)
        let read = try LuaWire.read(bytes)
        for name in ["n", "t", "d", "s", "l"] { #expect(read[name] == value[name]) }
        for count in bytes.indices {
            #expect(throws: LuaWire.Malformed.self) { try LuaWire.read(Array(bytes[..<count])) }
        }
        #expect(throws: LuaWire.Malformed.self) { try LuaWire.read([UInt8(ascii: "p"), 255, 255, 255, 255]) }
    }

    @Test func tablesBecomeListsOrObjects() {
        #expect(LuaValue.list([]).json == .list([]) && LuaValue.table([:]).json == .object([:]))
        let holes = LuaValue.pairs(
            [.init(key: .number(1), value: .text("a")), .init(key: .number(3), value: .text("c"))], isList: false)
        #expect(holes.json == .object(["1": .text("a"), "3": .text("c")]))
    }

    @Test(arguments: [
        (1.0, "1"), (1.5, "1.5"), (1e15, "1e+15"), (9_007_199_254_740_992, "9.007199254741e+15"), (-0.0, "-0"),
        (.infinity, "+Inf"), (0.1, "0.1"), (-12_345_678, "-12345678"),
    ])
    func numbersAreWrittenAsLuaDoes(_ number: Double, _ text: String) { #expect(LuaText.number(number) == text) }

    @Test func jsonIsGos() throws {
        let value = JSONValue.object(["b": .list([.integer(1), .number(1.5)]), "a": .text("<&>\n")])
        #expect(
            String(decoding: LuaJSON.text(value), as: UTF8.self)
                == "{\"a\":\"\\u003c\\u0026\\u003e\\n\",\"b\":[1,1.5]}\n")
        #expect(
            String(decoding: LuaJSON.text(value, indent: "  "), as: UTF8.self)
                == "{\n  \"a\": \"\\u003c\\u0026\\u003e\\n\",\n  \"b\": [\n    1,\n    1.5\n  ]\n}\n")
    }

    @Test func yamlReadsWhatItWrites() throws {
        let value = JSONValue.object([
            "list": .list([.text("x"), .list([.integer(1), .text("true")]), .object(["k": .object(["d": .null])])]),
            "empty": .list([]), "none": .object([:]), "odd: text": .text("- a"), "number": .text("1"),
            "half": .number(0.5),
            "lines": .text("a\nb"), "blank": .text(""),
        ])
        let text = LuaYAML.text(value)
        #expect(try YAMLNode.read(Array(text.utf8))?.value == value, "\(text)")
    }
}

@Suite struct GoTimeTests {
    private func text(_ layout: String, _ nanoseconds: Double = 1_136_214_245_000_000_000) throws -> String {
        try GoTime(nanoseconds: nanoseconds, zone: "UTC", file: []).text(layout)
    }

    @Test(arguments: [
        ("2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z"), ("Mon Jan _2 15:04:05 2006", "Mon Jan  2 15:04:05 2006"),
        ("Monday, 02-Jan-06 03:04PM MST", "Monday, 02-Jan-06 03:04PM UTC"), ("3:4:5 pm -0700", "3:4:5 pm +0000"),
        ("002 January", "002 January"), ("05.000", "05.000"), ("05.999", "05"),
    ])
    func layouts(_ layout: String, _ wanted: String) throws { #expect(try text(layout) == wanted) }

    @Test(arguments: [
        ("2006-01-02", "2023-11-14", 1_699_920_000.0),
        ("2006-01-02T15:04:05-07:00", "2023-11-14T22:13:20+01:00", 1_699_996_400),
        ("Jan _2 2006 3:04PM", "Feb 29 2024 1:05AM", 1_709_168_700), ("02.01.06", "01.01.69", -31_536_000),
        ("15:04:05", "00:00:01.5", -62_135_596_798.5),
    ])
    func whatIsReadIsTheTime(_ layout: String, _ text: String, _ seconds: Double) throws {
        #expect(try GoTime.parse(text, layout: layout) == seconds * 1e9)
    }

    @Test(arguments: [
        ("2006-01-02", "2023-13-01"), ("2006-01-02", "2023-1-01"), ("2006-01-02", "2023-01-01x"),
        ("2006-01-02", "2023-02-29"), ("2006-01-02", "2023-04-31"), ("15:04", "24:00"),
        ("Jan", "Foo"),
    ])
    func whatIsNoTimeIsRefused(_ layout: String, _ text: String) {
        #expect(throws: HookFailure.self) { try GoTime.parse(text, layout: layout) }
    }

    @Test func aZonesFileIsRead() throws {
        let file = try #require(Self.zone("America/New_York"))
        func hour(_ seconds: Double) throws -> String {
            try GoTime(nanoseconds: seconds * 1e9, zone: "America/New_York", file: file).text("15 MST -07:00")
        }
        #expect(try hour(1_700_000_000) == "17 EST -05:00")
        #expect(try hour(1_690_000_000) == "00 EDT -04:00")
        for count in [0, 10, 44, 100, file.count / 2] {
            #expect(throws: HookFailure.self) {
                try GoTime(nanoseconds: 0, zone: "Elsewhere", file: Array(file.prefix(count)))
            }
        }
    }

    private static func zone(_ name: String) -> [UInt8]? { try? LuaCalls.zone(name) }

    @Test(arguments: [
        "../../../etc/passwd", "/etc/passwd", "", ".", "America/../../../etc/hosts", "a\0b", "Nowhere/Land",
    ])
    func namesOfZonesStayInTheirFolder(_ name: String) {
        #expect(throws: HookFailure.self) { try LuaCalls.zone(name) }
    }
}

@Suite struct HookURLTests {
    @Test(arguments: [
        ("http://h/x?b=2&a=1", [("c", "3")], "http://h/x?a=1&b=2&c=3"), ("http://h/x", [], "http://h/x"),
        ("http://h/{{ A }}?q={{B}}", [], "http://h/%7B%7B%20A%20%7D%7D?q=%7B%7BB%7D%7D"),
        ("http://h/a%20b#frag", [("s", "a b&c")], "http://h/a%20b?s=a+b%26c"),
        ("HTTPS://h", [("l", "1"), ("l", "2")], "HTTPS://h?l=1&l=2"),
    ])
    func queriesAreJoined(_ text: String, _ more: [(String, String)], _ wanted: String) throws {
        #expect(try HookURL(text).target(adding: more) == wanted)
    }

    @Test(arguments: ["", "nonsense", "h:80/x", "ftp://h/", "://h", "file:///etc/passwd", "gopher://h"])
    func whatIsNoAddressIsRefused(_ text: String) {
        #expect(throws: HookFailure.self) { try HookURL(text).target() }
    }

    @Test func passwordsAreNotTold() {
        #expect(HookURL("http://user:pw@h/x").shown == "http://user:***@h/x")
        #expect(HookURL("http://user:pw@h:81/x").authority == "h:81")
    }
}

@Suite struct PatternTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test func whatMatchesIsFound() throws {
        let pattern = try Pattern(bytes("(a)(b)?"))
        #expect(try pattern.first(in: bytes("xac")) == [bytes("a"), bytes("a"), []])
        #expect(try pattern.all(in: bytes("ab a"), most: -1).map { $0[0] } == [bytes("ab"), bytes("a")])
        #expect(try Pattern(bytes("(x)?(y)|(z)")).first(in: bytes("y")) == [bytes("y"), [], bytes("y"), []])
        #expect(try Pattern(bytes("x*")).all(in: bytes("aü"), most: -1).count == 3)
        #expect(try Pattern(bytes("^.$")).first(in: bytes("ü")) != nil)
        #expect(try Pattern(bytes("a")).first(in: [0xff, 0x61]) != nil)
    }

    @Test func whatTakesTooLongIsGivenUp() throws {
        let pattern = try Pattern(bytes("(a+)+$"), steps: 100_000)
        #expect(throws: HookFailure.self) { try pattern.first(in: bytes(String(repeating: "a", count: 10_000) + "b")) }
    }

    @Test(arguments: ["(", "[", "*", ")", "a\\"])
    func whatIsNoPatternIsRefused(_ text: String) { #expect(throws: HookFailure.self) { try Pattern(bytes(text)) } }
}

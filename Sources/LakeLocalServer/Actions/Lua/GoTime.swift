import Foundations

/// A moment in a zone, written and read by Go's layouts: texts that show the moment Mon Jan 2 15:04:05 MST 2006.
/// Source: Go's package time.
struct GoTime {
    private let seconds: Int64
    private let nanoseconds: Int
    /// Seconds east of Greenwich, and what the zone is called then.
    private let offset: Int
    private let zone: String

    /// RFC 3339 with a zone in digits.
    static let iso = "2006-01-02T15:04:05-07:00"

    static func now() -> Double {
        let now = Timestamp.now()
        return Double(now.seconds) * 1e9 + Double(now.nanoseconds)
    }

    /// - Parameters:
    ///   - zone: `UTC`, or a name that there is a file of.
    ///   - file: tzfile(5); empty for UTC.
    /// - Throws: `HookFailure` for a zone that there is none of.
    init(nanoseconds total: Double, zone: String, file: [UInt8]) throws {
        guard total.isFinite, abs(total) < 9.2e18 else { throw HookFailure("time: \(total) is no time in nanoseconds") }
        let whole = Int64(total)
        seconds = whole >= 0 ? whole / 1_000_000_000 : (whole - 999_999_999) / 1_000_000_000
        nanoseconds = Int(whole - seconds * 1_000_000_000)
        if zone.isEmpty || zone == "UTC" {
            (offset, self.zone) = (0, "UTC")
        } else {
            guard let found = ZoneFile.offset(at: seconds, file) else { throw HookFailure("unknown time zone \(zone)") }
            (offset, self.zone) = found
        }
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    private enum Part: Equatable {
        case literal(String)
        case longMonth, shortMonth, month, paddedMonth, longDay, shortDay, day, spacedDay, paddedDay, dayOfYear
        case hour, hour12, paddedHour12, minute, paddedMinute, second, paddedSecond, year, shortYear, half, lowHalf
        case zoneName, zone(colon: Bool, hasZ: Bool, isShort: Bool)
        case fraction(Int, trims: Bool, mark: String)
    }

    /// The longest first, of those that begin alike.
    private static let words: [(text: String, part: Part)] = [
        ("January", .longMonth), ("Jan", .shortMonth), ("Monday", .longDay), ("Mon", .shortDay), ("MST", .zoneName),
        ("2006", .year), ("002", .dayOfYear), ("01", .paddedMonth), ("02", .paddedDay), ("03", .paddedHour12),
        ("04", .paddedMinute), ("05", .paddedSecond), ("06", .shortYear), ("_2", .spacedDay), ("15", .hour),
        ("PM", .half), ("pm", .lowHalf), ("Z07:00", .zone(colon: true, hasZ: true, isShort: false)),
        ("Z0700", .zone(colon: false, hasZ: true, isShort: false)),
        ("-07:00", .zone(colon: true, hasZ: false, isShort: false)),
        ("-0700", .zone(colon: false, hasZ: false, isShort: false)),
        ("-07", .zone(colon: false, hasZ: false, isShort: true)), ("1", .month), ("2", .day), ("3", .hour12),
        ("4", .minute), ("5", .second),
    ]

    private static func parts(_ layout: String) -> [Part] {
        var result: [Part] = []
        var rest = layout[...]
        while let first = rest.first {
            if first == "." || first == ",", let digit = rest.dropFirst().first, digit == "0" || digit == "9" {
                let run = rest.dropFirst().prefix { $0 == digit }
                if rest.dropFirst(1 + run.count).first?.isNumber != true {
                    result.append(.fraction(run.count, trims: digit == "9", mark: String(first)))
                    rest = rest.dropFirst(1 + run.count)
                    continue
                }
            }
            if let (text, part) = words.first(where: { rest.hasPrefix($0.text) }) {
                result.append(part)
                rest = rest.dropFirst(text.count)
            } else if case .literal(let text)? = result.last {
                result[result.count - 1] = .literal(text + String(first))
                rest = rest.dropFirst()
            } else {
                result.append(.literal(String(first)))
                rest = rest.dropFirst()
            }
        }
        return result
    }

    private static func padded(_ number: Int, _ width: Int, _ fill: String = "0") -> String {
        let text = String(number)
        return String(repeating: fill, count: max(0, width - text.count)) + text
    }

    func text(_ layout: String) -> String {
        let local = seconds + Int64(offset)
        let date = Timestamp(seconds: local).civil
        let (hour, minute, second) = (date.hour, date.minute, date.second)
        let hour12 = hour % 12 == 0 ? 12 : hour % 12
        return Self.parts(layout).map { part -> String in
            switch part {
            case .literal(let text): text
            case .longMonth: Self.months[date.month - 1]
            case .shortMonth: String(Self.months[date.month - 1].prefix(3))
            case .month: String(date.month)
            case .paddedMonth: Self.padded(date.month, 2)
            case .longDay: Self.days[date.weekday]
            case .shortDay: String(Self.days[date.weekday].prefix(3))
            case .day: String(date.day)
            case .spacedDay: Self.padded(date.day, 2, " ")
            case .paddedDay: Self.padded(date.day, 2)
            case .dayOfYear: Self.padded(Int((local - Self.midnight(date.year, 1)) / 86_400) + 1, 3)
            case .hour: Self.padded(hour, 2)
            case .hour12: String(hour12)
            case .paddedHour12: Self.padded(hour12, 2)
            case .minute: String(minute)
            case .paddedMinute: Self.padded(minute, 2)
            case .second: String(second)
            case .paddedSecond: Self.padded(second, 2)
            case .year: Self.padded(date.year, 4)
            case .shortYear: Self.padded(date.year % 100, 2)
            case .half: hour < 12 ? "AM" : "PM"
            case .lowHalf: hour < 12 ? "am" : "pm"
            case .zoneName: zone
            case .zone(let colon, let hasZ, let isShort): zoneText(colon, hasZ, isShort)
            case .fraction(let digits, let trims, let mark): fraction(digits, trims, mark)
            }
        }.joined()
    }

    private func zoneText(_ colon: Bool, _ hasZ: Bool, _ isShort: Bool) -> String {
        if hasZ, offset == 0 { return "Z" }
        let size = abs(offset)
        let text = (offset < 0 ? "-" : "+") + Self.padded(size / 3600, 2)
        return isShort ? text : text + (colon ? ":" : "") + Self.padded(size / 60 % 60, 2)
    }

    private func fraction(_ digits: Int, _ trims: Bool, _ mark: String) -> String {
        var text = String(Self.padded(nanoseconds, 9).prefix(digits))
        if trims { while text.hasSuffix("0") { text.removeLast() } }
        return text.isEmpty ? "" : mark + text
    }

    /// When a month begins, in seconds since 1970. The month is one.
    private static func midnight(_ year: Int, _ month: Int) -> Int64 {
        Timestamp.seconds(year: year, month: month, day: 1, hour: 0, minute: 0, second: 0) ?? 0
    }

    // MARK: reading

    /// The last day of a month; of the year where the layout counts so.
    private static func longestDay(_ year: Int, _ month: Int, _ layout: String) -> Int {
        guard !layout.contains("002"), (1...12).contains(month) else { return 366 }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        return month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// Nanoseconds since 1970 of a text. Without a zone in it, it is UTC.
    /// - Throws: `HookFailure` in Go's words.
    static func parse(_ text: String, layout: String) throws -> Double {
        var rest = text[...]
        var (year, month, day, hour, minute, second, nanoseconds, offset) = (1, 1, 1, 0, 0, 0, 0, 0)
        var isAfternoon: Bool?
        func failure(_ part: String) -> HookFailure {
            HookFailure("parsing time \"\(text)\" as \"\(layout)\": cannot parse \"\(rest)\" as \"\(part)\"")
        }
        func number(_ least: Int, _ most: Int, _ part: String) throws -> Int {
            let digits = rest.prefix(most).prefix { $0.isASCII && $0.isNumber }
            guard digits.count >= least, let number = Int(digits) else { throw failure(part) }
            rest = rest.dropFirst(digits.count)
            return number
        }
        func name(_ names: [String], _ part: String) throws -> Int {
            guard let index = names.firstIndex(where: { rest.lowercased().hasPrefix($0.lowercased()) }) else {
                throw failure(part)
            }
            rest = rest.dropFirst(names[index].count)
            return index
        }
        let shortMonths = months.map { String($0.prefix(3)) }, shortDays = days.map { String($0.prefix(3)) }
        for part in parts(layout) {
            let shown = words.first { $0.part == part }?.text ?? ""
            switch part {
            case .literal(let literal):
                guard rest.hasPrefix(literal) else { throw failure(literal) }
                rest = rest.dropFirst(literal.count)
            case .longMonth: month = try name(months, shown) + 1
            case .shortMonth: month = try name(shortMonths, shown) + 1
            case .month: month = try number(1, 2, shown)
            case .paddedMonth: month = try number(2, 2, shown)
            case .longDay: _ = try name(days, shown)
            case .shortDay: _ = try name(shortDays, shown)
            case .day: day = try number(1, 2, shown)
            case .spacedDay:
                rest = rest.drop { $0 == " " }
                day = try number(1, 2, shown)
            case .paddedDay: day = try number(2, 2, shown)
            case .dayOfYear: (month, day) = (1, try number(3, 3, shown))
            case .hour, .hour12: hour = try number(part == .hour ? 2 : 1, 2, shown)
            case .paddedHour12: hour = try number(2, 2, shown)
            case .minute: minute = try number(1, 2, shown)
            case .paddedMinute: minute = try number(2, 2, shown)
            case .second: second = try number(1, 2, shown)
            case .paddedSecond: second = try number(2, 2, shown)
            case .year: year = try number(4, 4, shown)
            case .shortYear:
                year = try number(2, 2, shown)
                year += year >= 69 ? 1900 : 2000
            case .half, .lowHalf: isAfternoon = try name(["AM", "PM"], shown) == 1
            case .zoneName: rest = rest.drop { $0.isLetter }
            case .fraction(_, _, let mark):
                guard rest.hasPrefix(mark) else { throw failure(mark) }
                let digits = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
                nanoseconds = Int((digits + "000000000").prefix(9)) ?? 0
                rest = rest.dropFirst(1 + digits.count)
            case .zone(let colon, let hasZ, let isShort):
                if hasZ, rest.hasPrefix("Z") {
                    rest = rest.dropFirst()
                    continue
                }
                let sign = rest.first
                guard sign == "+" || sign == "-" else { throw failure(shown) }
                rest = rest.dropFirst()
                var size = try number(2, 2, shown) * 3600
                if colon {
                    guard rest.hasPrefix(":") else { throw failure(shown) }
                    rest = rest.dropFirst()
                }
                if !isShort { size += try number(2, 2, shown) * 60 }
                offset = sign == "-" ? -size : size
            }
            // A second may have a fraction that the layout does not tell of.
            if part == .paddedSecond || part == .second, rest.hasPrefix("."), !layout.contains(".0"),
                !layout.contains(".9")
            {
                let digits = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
                nanoseconds = Int((digits + "000000000").prefix(9)) ?? 0
                rest = rest.dropFirst(1 + digits.count)
            }
        }
        guard rest.isEmpty else { throw HookFailure("parsing time \"\(text)\": extra text: \"\(rest)\"") }
        if let isAfternoon { hour = hour % 12 + (isAfternoon ? 12 : 0) }
        for (value, range, what) in [
            (month, 1...12, "month"), (day, 1...longestDay(year, month, layout), "day"), (hour, 0...23, "hour"),
            (minute, 0...59, "minute"),
            (second, 0...59, "second"),
        ] where !range.contains(value) { throw HookFailure("parsing time \"\(text)\": \(what) out of range") }
        let total =
            midnight(year, month)
            + Int64((day - 1) * 86_400 + hour * 3600 + minute * 60 + second - offset)
        return Double(total) * 1e9 + Double(nanoseconds)
    }
}

/// A file of a time zone. Source: tzfile(5); the part for 64-bit times is read, rules behind its last change are not.
enum ZoneFile {
    static func offset(at seconds: Int64, _ file: [UInt8]) -> (Int, String)? {
        func number(_ place: Int, _ count: Int) -> Int64? {
            guard place >= 0, place + count <= file.count else { return nil }
            let value = file[place..<place + count].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return count == 8 ? Int64(bitPattern: value) : Int64(Int32(truncatingIfNeeded: value))
        }
        func counts(_ head: Int) -> [Int]? {
            guard file.count >= head + 44, file[head..<head + 4].elementsEqual("TZif".utf8) else { return nil }
            return (0..<6).compactMap { number(head + 20 + 4 * $0, 4).map(Int.init) }
        }
        guard let old = counts(0), file[4] >= UInt8(ascii: "2"), old.allSatisfy({ $0 >= 0 && $0 < 1 << 20 }) else {
            return nil
        }
        let head = 44 + old[3] * 5 + old[4] * 6 + old[5] + old[2] * 8 + old[1] + old[0]
        guard let new = counts(head), new.allSatisfy({ $0 >= 0 && $0 < 1 << 20 }) else { return nil }
        let (changes, types, letters) = (new[3], new[4], new[5])
        let times = head + 44
        let kinds = times + 8 * changes
        let records = kinds + changes
        let names = records + 6 * types
        guard types > 0, names + letters <= file.count else { return nil }
        var kind = 0
        for index in 0..<changes {
            guard let time = number(times + 8 * index, 8) else { return nil }
            if time > seconds { break }
            kind = Int(file[kinds + index])
        }
        guard kind < types, let offset = number(records + 6 * kind, 4) else { return nil }
        let name = file[(names + min(letters, Int(file[records + 6 * kind + 5])))...].prefix { $0 != 0 }
        return (Int(offset), String(decoding: name, as: UTF8.self))
    }
}

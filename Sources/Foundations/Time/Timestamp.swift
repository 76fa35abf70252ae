import Glibc

/// A moment, as protobuf's `google.protobuf.Timestamp` and RFC 3339 say it.
@usableFromInline
package struct Timestamp: Sendable, Hashable, Comparable {
    /// Since 1970-01-01 UTC.
    @usableFromInline package var seconds: Int64
    /// 0 to 999,999,999.
    @usableFromInline package var nanoseconds: Int32

    package init(seconds: Int64, nanoseconds: Int32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// A time that a client gave in seconds, or now.
    /// - Throws: `.invalidValue` for a time beyond the years 1 to 9999.
    package init(given seconds: Int64?) throws {
        guard let seconds else {
            self = .now()
            return
        }
        guard (-62_135_596_800...253_402_300_799).contains(seconds) else {
            throw LakeError(.invalidValue, "time \(seconds) is not within the years 1 to 9999")
        }
        self.init(seconds: seconds)
    }

    package static func now() -> Timestamp {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
    }

    /// Milliseconds of a clock that nobody sets (clock_gettime(2), CLOCK_MONOTONIC): for measuring how long something
    /// takes.
    package static func monotonicMilliseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// The same in microseconds: how long something took.
    package static func monotonicMicroseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }

    @inlinable package static func < (left: Timestamp, right: Timestamp) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }

    /// A date and time in UTC by the Gregorian calendar.
    package struct Civil {
        package fileprivate(set) var year, month, day, weekday, hour, minute, second: Int
    }

    package var civil: Civil {
        // The years 1 to 9999: what the written forms have room for.
        let bounded = Int(min(max(seconds, -62_135_596_800), 253_402_300_799))
        let second = ((bounded % 86_400) + 86_400) % 86_400
        let days = (bounded - second) / 86_400
        // Years are counted from March, so that a leap day ends one; days from the first of March of the year 0. A
        // cycle of 400 years has 146,097 days, one of 100 has 36,524, one of 4 has 1,461.
        let (cycle, inCycle) = (days + 719_468).quotientAndRemainder(dividingBy: 146_097)
        let year = (inCycle - inCycle / 1460 + inCycle / 36_524 - inCycle / 146_096) / 365
        let inYear = inCycle - (365 * year + year / 4 - year / 100)
        // Five months from March or August on have 153 days, in the same pattern.
        let month = (5 * inYear + 2) / 153
        let isNextYear = month >= 10
        return Civil(
            year: 400 * cycle + year + (isNextYear ? 1 : 0), month: month + (isNextYear ? -9 : 3),
            day: inYear - (153 * month + 2) / 5 + 1, weekday: (days % 7 + 11) % 7, hour: second / 3600,
            minute: second / 60 % 60, second: second % 60)
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        var bytes: [UInt8] = []
        append(value, width, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func append(_ value: Int, _ width: Int, to bytes: inout [UInt8]) {
        var unit = 1
        for _ in 1..<width { unit *= 10 }
        while unit > 0 {
            bytes.append(48 + UInt8(value / unit % 10))
            unit /= 10
        }
    }

    private func appendSeconds(to bytes: inout [UInt8]) {
        let civil = civil
        func add(_ value: Int, _ width: Int, _ mark: UInt8) {
            Self.append(value, width, to: &bytes)
            bytes.append(mark)
        }
        add(civil.year, 4, 0x2d)
        add(civil.month, 2, 0x2d)
        add(civil.day, 2, 0x54)
        add(civil.hour, 2, 0x3a)
        add(civil.minute, 2, 0x3a)
        Self.append(civil.second, 2, to: &bytes)
    }

    /// Appends `2006-01-02T15:04:05.000Z`.
    package func appendMilliseconds(to bytes: inout [UInt8]) {
        appendSeconds(to: &bytes)
        bytes.append(0x2e)
        Self.append(Int(nanoseconds / 1_000_000), 3, to: &bytes)
        bytes.append(0x5a)
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// `2006-01-02T15:04:05Z`.
    package var rfc3339: String {
        var bytes: [UInt8] = []
        appendSeconds(to: &bytes)
        bytes.append(0x5a)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `2006-01-02T15:04:05.000Z`, as S3 writes it.
    package var rfc3339Milliseconds: String {
        var bytes: [UInt8] = []
        appendMilliseconds(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `Mon, 02 Jan 2006 15:04:05 GMT` (RFC 9110, 5.6.7).
    package var httpDate: String {
        let t = civil
        let p = Self.padded
        return
            "\(Self.weekdays[t.weekday]), \(p(t.day, 2)) \(Self.months[t.month - 1]) \(p(t.year, 4)) \(p(t.hour, 2)):\(p(t.minute, 2)):\(p(t.second, 2)) GMT"
    }

    /// `20060102T150405Z`, as AWS signatures write it.
    package var basic: String { rfc3339.filter { $0 != "-" && $0 != ":" } }

    /// Seconds since 1970 of a date and time in UTC; nil where one is none, or is not in the years 0 to 9999.
    package static func seconds(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) -> Int64? {
        guard (0...9999).contains(year), (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour),
            (0...59).contains(minute), (0...60).contains(second)
        else { return nil }
        var parts = unsafe tm()
        unsafe parts.tm_year = Int32(year - 1900)
        unsafe parts.tm_mon = Int32(month - 1)
        unsafe parts.tm_mday = Int32(day)
        unsafe parts.tm_hour = Int32(hour)
        unsafe parts.tm_min = Int32(minute)
        unsafe parts.tm_sec = Int32(second)
        return unsafe Int64(timegm(&parts))
    }

    /// Reads `20060102T150405Z`.
    package init?(basic text: String) {
        let u = Array(text.utf8)
        guard u.count == 16, u[8] == 0x54, u[15] == 0x5a else { return nil }
        func number(_ range: Range<Int>) -> Int? {
            u[range].allSatisfy { $0 >= 48 && $0 <= 57 } ? u[range].reduce(0) { $0 * 10 + Int($1 - 48) } : nil
        }
        guard let year = number(0..<4), let month = number(4..<6), let day = number(6..<8), let hour = number(9..<11),
            let minute = number(11..<13),
            let second = number(13..<15),
            let seconds = Self.seconds(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        else { return nil }
        self.init(seconds: seconds)
    }

    /// Reads RFC 3339: `2006-01-02T15:04:05[.999999999](Z|+hh:mm)`; `+hhmm` too.
    package init?(rfc3339 text: String) {
        let u = Array(text.utf8)
        guard u.count >= 20, u[4] == 0x2d, u[7] == 0x2d, u[10] == 0x54 || u[10] == 0x74, u[13] == 0x3a, u[16] == 0x3a
        else { return nil }
        func number(_ range: Range<Int>) -> Int? {
            guard range.upperBound <= u.count, u[range].allSatisfy({ $0 >= 48 && $0 <= 57 }) else { return nil }
            return Int(String(decoding: u[range], as: UTF8.self))
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13),
            let minute = number(14..<16),
            let second = number(17..<19),
            var seconds = Self.seconds(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        else { return nil }
        var position = 19
        var nanoseconds = 0
        if u[position] == 0x2e {
            var digits = 0
            position += 1
            while position < u.count, u[position] >= 48, u[position] <= 57 {
                if digits < 9 { nanoseconds = nanoseconds * 10 + Int(u[position] - 48) }
                digits += 1
                position += 1
            }
            guard digits > 0 else { return nil }
            for _ in min(digits, 9)..<9 { nanoseconds *= 10 }
        }
        guard position < u.count else { return nil }
        switch u[position] {
        case 0x5a, 0x7a: guard position + 1 == u.count else { return nil }
        case 0x2b, 0x2d:
            // lakeFS's Python client leaves the colon out.
            let behind = u.count == position + 6 && u[position + 3] == 0x3a ? position + 4 : position + 3
            guard u.count == behind + 2, let hours = number(position + 1..<position + 3),
                let minutes = number(behind..<behind + 2)
            else { return nil }
            seconds -= Int64((u[position] == 0x2b ? 1 : -1) * (hours * 3600 + minutes * 60))
        default: return nil
        }
        self.init(seconds: seconds, nanoseconds: Int32(nanoseconds))
    }

    /// Reads `Mon, 02 Jan 2006 15:04:05 GMT`.
    package init?(httpDate text: String) {
        let parts = text.split(separator: " ")
        guard parts.count == 6, let day = Int(parts[1]), let month = Self.months.firstIndex(of: String(parts[2])),
            let year = Int(parts[3])
        else { return nil }
        let clock = parts[4].split(separator: ":").compactMap { Int($0) }
        guard clock.count == 3,
            let seconds = Self.seconds(
                year: year, month: month + 1, day: day, hour: clock[0], minute: clock[1], second: clock[2])
        else { return nil }
        self.init(seconds: seconds)
    }
}

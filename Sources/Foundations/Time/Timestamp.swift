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

    /// The civil date and time in UTC (gmtime_r(3)).
    fileprivate var components: tm {
        // The years 1 to 9999: what the written forms have room for.
        var time = time_t(min(max(seconds, -62_135_596_800), 253_402_300_799))
        var parts = unsafe tm()
        unsafe gmtime_r(&time, &parts)
        return unsafe parts
    }

    private static func padded(_ value: Int32, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// `2006-01-02T15:04:05Z`.
    package var rfc3339: String {
        let t = unsafe components
        let p = Self.padded
        return
            unsafe "\(p(t.tm_year + 1900, 4))-\(p(t.tm_mon + 1, 2))-\(p(t.tm_mday, 2))T\(p(t.tm_hour, 2)):\(p(t.tm_min, 2)):\(p(t.tm_sec, 2))Z"
    }

    /// `2006-01-02T15:04:05.000Z`, as S3 writes it.
    package var rfc3339Milliseconds: String {
        String(rfc3339.dropLast()) + "." + Self.padded(nanoseconds / 1_000_000, 3) + "Z"
    }

    /// `Mon, 02 Jan 2006 15:04:05 GMT` (RFC 9110, 5.6.7).
    package var httpDate: String {
        let t = unsafe components
        let p = Self.padded
        return
            unsafe "\(Self.weekdays[Int(t.tm_wday)]), \(p(t.tm_mday, 2)) \(Self.months[Int(t.tm_mon)]) \(p(t.tm_year + 1900, 4)) \(p(t.tm_hour, 2)):\(p(t.tm_min, 2)):\(p(t.tm_sec, 2)) GMT"
    }

    /// `20060102T150405Z`, as AWS signatures write it.
    package var basic: String { rfc3339.filter { $0 != "-" && $0 != ":" } }

    private static func seconds(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) -> Int64? {
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

    /// Reads RFC 3339: `2006-01-02T15:04:05[.999999999](Z|+hh:mm)`.
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
            guard u.count == position + 6, u[position + 3] == 0x3a, let hours = number(position + 1..<position + 3),
                let minutes = number(position + 4..<position + 6)
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

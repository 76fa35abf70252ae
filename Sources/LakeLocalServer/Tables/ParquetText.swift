/// Values as people read them: ISO 8601 for times, decimals with their point.
enum ParquetText {
    /// UTF-8 of at most `characters` Unicode scalars; longer text ends with an ellipsis, what is no UTF-8 is replaced.
    /// Takes no longer for long text.
    static func shortened(_ bytes: ArraySlice<UInt8>, characters: Int) -> String {
        let most = min(max(0, characters), 1 << 24)
        guard bytes.count > most else { return String(decoding: bytes, as: UTF8.self) }
        // A scalar has four bytes at most; one more than wanted tells whether there are more.
        let text = String(decoding: bytes.prefix(4 * (most + 1)), as: UTF8.self)
        let scalars = text.unicodeScalars
        guard let end = scalars.index(scalars.startIndex, offsetBy: most, limitedBy: scalars.endIndex),
            end != scalars.endIndex
        else { return text }
        return String(scalars[..<end]) + "…"
    }

    /// Two digits for each byte.
    static func hexadecimal(_ bytes: ArraySlice<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var result: [UInt8] = []
        result.reserveCapacity(2 * bytes.count)
        for byte in bytes {
            result.append(digits[Int(byte >> 4)])
            result.append(digits[Int(byte & 15)])
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// As in RFC 9562.
    static func uuid(_ bytes: ArraySlice<UInt8>) -> String {
        var rest = bytes
        return [4, 2, 2, 2, 6].map { count in
            let part = rest.prefix(count)
            rest = rest.dropFirst(count)
            return hexadecimal(part)
        }.joined(separator: "-")
    }

    private static func padded(_ number: Int64, _ digits: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }

    /// A day of the Gregorian calendar, also before it began. Source: Howard Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms", `civil_from_days`.
    /// - Parameter days: at most those that 64 bits of milliseconds hold, so nothing here overflows.
    static func date(daysSince1970 days: Int64) -> String {
        let shifted = days &+ 719_468
        let era = (shifted >= 0 ? shifted : shifted &- 146_096) / 146_097
        let dayOfEra = shifted &- era &* 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra &+ era &* 400 &+ (month <= 2 ? 1 : 0)
        let sign = year < 0 ? "-" : year > 9_999 ? "+" : ""
        return sign + padded(Int64(clamping: year.magnitude), 4) + "-" + padded(month, 2) + "-" + padded(day, 2)
    }

    /// A time of day; nil if there is no such time.
    static func time(_ value: Int64, _ unit: ParquetTimeUnit) -> String? {
        guard 0..<(86_400 * unit.rawValue) ~= value else { return nil }
        let seconds = value / unit.rawValue
        let fraction = value % unit.rawValue
        return padded(seconds / 3_600, 2) + ":" + padded(seconds / 60 % 60, 2) + ":" + padded(seconds % 60, 2)
            + (fraction == 0 ? "" : "." + padded(fraction, unit.digits))
    }

    /// - Parameter value: since the first moment of 1970.
    static func timestamp(_ value: Int64, _ unit: ParquetTimeUnit) -> String {
        let perDay = 86_400 * unit.rawValue
        // The remainder is made positive first: rounding down.
        let remainder = (value % perDay + perDay) % perDay
        let days = value / perDay - (value < 0 && value % perDay != 0 ? 1 : 0)
        return date(daysSince1970: days) + "T" + (time(remainder, unit) ?? "")
    }

    /// INT96. Impala and Spark write the nanoseconds of the day; more or fewer than a day has are carried over.
    static func timestamp(julianDay: Int32, nanoseconds: Int64) -> String {
        let perDay = 86_400 * ParquetTimeUnit.nanoseconds.rawValue
        let remainder = (nanoseconds % perDay + perDay) % perDay
        let carried = nanoseconds / perDay - (nanoseconds < 0 && nanoseconds % perDay != 0 ? 1 : 0)
        // 1 January 1970 is the Julian day 2,440,588.
        return date(daysSince1970: Int64(julianDay) - 2_440_588 + carried) + "T" + (time(remainder, .nanoseconds) ?? "")
    }

    /// As ISO 8601 writes durations.
    static func interval(months: UInt64, days: UInt64, milliseconds: UInt64) -> String {
        let fraction = milliseconds % 1_000
        return "P\(months)M\(days)DT\(milliseconds / 1_000)"
            + (fraction == 0 ? "" : "." + padded(Int64(fraction), 3)) + "S"
    }

    /// Puts the point into a number.
    /// - Parameter digits: an integer, maybe negative.
    static func decimal(_ digits: String, scale: Int) -> String {
        guard 1...1_000 ~= scale else { return digits }
        let isNegative = digits.hasPrefix("-")
        let bare = isNegative ? String(digits.dropFirst()) : digits
        let padded = String(repeating: "0", count: max(0, scale + 1 - bare.utf8.count)) + bare
        return (isNegative ? "-" : "") + padded.dropLast(scale) + "." + padded.suffix(scale)
    }

    /// The decimal digits of a number in two's complement, the first byte the greatest; nil for more than 64 bytes, since
    /// the time grows with the square of them.
    static func integer(bigEndian bytes: ArraySlice<UInt8>) -> String? {
        guard let first = bytes.first, bytes.count <= 64 else { return bytes.isEmpty ? "0" : nil }
        let isNegative = first >= 0x80
        // Words of 32 bits, the greatest first, of the magnitude.
        var words = [UInt32](repeating: 0, count: (bytes.count + 3) / 4)
        for (place, byte) in bytes.reversed().enumerated() {
            words[words.count - 1 - place / 4] |= UInt32(isNegative ? ~byte : byte) << UInt32(8 * (place % 4))
        }
        if isNegative {
            var index = words.count - 1
            while index >= 0 {
                words[index] &+= 1
                if words[index] != 0 { break }
                index -= 1
            }
            // All ones of all bytes, inverted and plus one, fit: the magnitude has no more bits than the number.
        }
        var parts: [String] = []
        while words.contains(where: { $0 != 0 }) {
            var remainder: UInt64 = 0
            for index in words.indices {
                let value = remainder << 32 | UInt64(words[index])
                words[index] = UInt32(truncatingIfNeeded: value / 1_000_000_000)
                remainder = value % 1_000_000_000
            }
            parts.append("\(remainder)")
        }
        guard let top = parts.last else { return "0" }
        let rest = parts.dropLast().reversed().map { String(repeating: "0", count: 9 - $0.utf8.count) + $0 }
        return (isNegative ? "-" : "") + top + rest.joined()
    }
}

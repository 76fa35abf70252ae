/// Times as Go writes them: `90s`, `1h30m`, `250ms`. lakeFS's settings and hooks have them.
package enum GoDuration {
    private static let units = ["h": 3_600_000.0, "m": 60_000, "s": 1000, "ms": 1, "us": 1e-3, "µs": 1e-3, "ns": 1e-6]

    /// Nil for what is none.
    package static func milliseconds(_ text: String) -> Double? {
        var total = 0.0
        var rest = text[...]
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let number = rest.prefix { $0.isNumber || $0 == "." }
            rest = rest.dropFirst(number.count)
            let unit = rest.prefix { !$0.isNumber && $0 != "." }
            rest = rest.dropFirst(unit.count)
            guard let count = Double(number), let factor = units[String(unit)] else { return nil }
            total += count * factor
        }
        return total
    }
}

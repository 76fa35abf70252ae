import Glibc

/// An address of IPv4 or IPv6; an IPv4 address that is written as one of IPv6 (`::ffff:a.b.c.d`) is the IPv4 address.
package struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    private let high: UInt64, low: UInt64
    /// What IPv4 addresses begin with in the form of IPv6 (RFC 4291, 2.5.5.2).
    private static let mapped: UInt64 = 0xffff_0000_0000

    package var isV4: Bool { high == 0 && low >> 32 == 0xffff }
    /// `127.0.0.0/8` or `::1`.
    package var isLoopback: Bool { isV4 ? (low >> 24) & 0xff == 127 : high == 0 && low == 1 }

    /// - Parameter address: in the machine's byte order.
    package init(v4 address: UInt32) {
        high = 0
        low = Self.mapped | UInt64(address)
    }

    /// - Parameter bytes: sixteen, in network order.
    package init(v6 bytes: [UInt8]) {
        precondition(bytes.count == 16)
        func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        high = number(bytes[..<8])
        low = number(bytes[8...])
    }

    /// Nil for what is no address (inet_pton(3)).
    package init?(_ text: some StringProtocol) {
        let text = String(text)
        var v4 = in_addr()
        var v6 = in6_addr()
        if unsafe inet_pton(AF_INET, text, &v4) == 1 {
            self.init(v4: UInt32(bigEndian: v4.s_addr))
        } else if unsafe inet_pton(AF_INET6, text, &v6) == 1 {
            self = unsafe withUnsafeBytes(of: &v6) { unsafe IPAddress(v6: Array($0)) }
        } else {
            return nil
        }
    }

    package var description: String {
        guard !isV4 else {
            return stride(from: 24, through: 0, by: -8).map { String((low >> UInt64($0)) & 0xff) }.joined(
                separator: ".")
        }
        return [high, low].flatMap { half in
            stride(from: 48, through: 0, by: -16).map { String((half >> UInt64($0)) & 0xffff, radix: 16) }
        }.joined(separator: ":")
    }

    fileprivate func isEqual(_ other: IPAddress, bits: Int) -> Bool {
        func differs(_ a: UInt64, _ b: UInt64, _ bits: Int) -> Bool {
            bits > 0 && (a ^ b) >> UInt64(64 - min(bits, 64)) != 0
        }
        return !differs(high, other.high, bits) && !differs(low, other.low, bits - 64)
    }
}

/// Addresses that begin alike: `127.0.0.0/8`, or one address alone.
package struct IPNetwork: Sendable {
    private let address: IPAddress
    private let bits: Int

    /// Nil for what is neither an address nor a network (RFC 4632, 3.1).
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = IPAddress(parts[0]) else { return nil }
        let most = parts[0].contains(":") ? 128 : 32
        var bits = most
        if parts.count == 2 {
            guard let given = Int(parts[1]), (0...most).contains(given) else { return nil }
            bits = given
        }
        self.address = address
        self.bits = bits + 128 - most
    }

    package func contains(_ other: IPAddress) -> Bool {
        address.isV4 == other.isV4 && address.isEqual(other, bits: bits)
    }
}

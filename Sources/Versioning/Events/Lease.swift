import Foundations

/// What one of several processes does for all of them: cleaning up, taking over what others left.
///
///     partition   lakefuse-leases (no lakeFS server has it)
///     key         what it is for
///     value       the process that has it, as the change log names it
///
/// A lease is nobody's any more when its process is gone, as far as the change log can say; no clock is compared. What it
/// is for may be done twice without harm: a process that was stopped for long may do so once more when it wakes.
extension Catalog {
    private static let leases = Partition("lakefuse-leases")

    /// Whether this process has a lease, taking it if nobody has.
    package func holds(lease name: String) throws -> Bool {
        guard !isAlone else { return true }
        try appear()
        let key = Key(name)
        let own = Array(instanceID.utf8)
        guard let holder = try store.value(for: key, in: Self.leases) else {
            return try store.trySet(own, for: key, in: Self.leases, if: .absent)
        }
        if holder == own { return true }
        guard try isGone(String(decoding: holder, as: UTF8.self)) else { return false }
        return try store.trySet(own, for: key, in: Self.leases, if: .matches(holder))
    }

    /// Gives up what this process has, so that another one need not wait until it is taken for gone.
    func giveUpLeases() {
        guard !isAlone else { return }
        let own = Array(instanceID.utf8)
        do {
            for (key, holder) in try store.page(of: Self.leases, from: nil, before: nil, limit: 100) where holder == own
            {
                _ = try store.tryWrite(
                    [.require(Self.leases, key, .matches(own)), .remove(Self.leases, key)], .durable)
            }
        } catch {
            Log.warning("a lease is given up by silence only", ["reason": LakeError(error).message])
        }
    }
}

package import Foundations

/// Several stores as one: a location is served by the one whose id it has.
package final class RoutedObjectStore: ObjectStore {
    private let stores: [String: any ObjectStore]
    package let capabilities: ObjectStoreCapabilities

    /// - Parameter stores: by their ids; one with the id "" serves what names none.
    package init(_ stores: [String: any ObjectStore]) {
        self.stores = stores
        capabilities = ObjectStoreCapabilities(
            schemes: Set(stores.values.flatMap(\.capabilities.schemes)).sorted(), presigner: Presigner(stores: stores))
    }

    private static func engine(_ location: ObjectLocation, _ stores: [String: any ObjectStore]) throws(StoreError) -> (
        store: any ObjectStore, location: ObjectLocation
    ) {
        guard let store = stores[location.store] else {
            throw StoreError(
                .refused,
                "the store '\(location.store)' of \(location) is not one of this server's: name it in blockstores.stores"
            )
        }
        // Engines know of no ids.
        return (store, location.inStore(""))
    }

    private func engine(_ location: ObjectLocation) throws(StoreError) -> (
        store: any ObjectStore, location: ObjectLocation
    ) { try Self.engine(location, stores) }

    private static func told(_ object: StoredObject, _ store: String) -> StoredObject {
        StoredObject(
            location: object.location.inStore(store), byteCount: object.byteCount, modified: object.modified)
    }

    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        let (store, place) = try engine(location)
        try store.put(bytes, at: place, durability)
    }
    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        let (store, place) = try engine(location)
        return try store.putIfAbsent(bytes, at: place)
    }
    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        let (store, place) = try engine(location)
        return try store.makeWriter(place)
    }
    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        let (store, place) = try engine(location)
        return try store.read(place, range)
    }
    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        let (store, place) = try engine(location)
        return try store.head(place).map { Self.told($0, location.store) }
    }
    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        let (store, place) = try engine(prefix)
        return try store.list(place, after: after, limit: limit).map { Self.told($0, prefix.store) }
    }
    package func remove(_ location: ObjectLocation) throws(StoreError) {
        let (store, place) = try engine(location)
        try store.remove(place)
    }
    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        guard source.store == destination.store else {
            // From one store to another the bytes come by here.
            guard try head(source) != nil else { throw StoreError(.notFound, "\(source) is not there") }
            return try rewritten([source], to: destination)
        }
        let (store, place) = try engine(source)
        return try store.copy(place, to: destination.inStore(""))
    }
    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        guard parts.allSatisfy({ $0.store == destination.store }) else {
            return try rewritten(parts, to: destination)
        }
        let (store, place) = try engine(destination)
        return try store.join(parts.map { $0.inStore("") }, to: place)
    }
    package func isOpen(_ location: ObjectLocation) -> Bool {
        guard let (store, place) = try? engine(location) else { return false }  // No store, nothing open.
        return store.isOpen(place)
    }

    private struct Presigner: ObjectPresigner {
        let stores: [String: any ObjectStore]

        private func engine(_ location: ObjectLocation) throws(StoreError) -> (
            presigner: any ObjectPresigner, location: ObjectLocation
        ) {
            let (store, place) = try RoutedObjectStore.engine(location, stores)
            guard let presigner = store.capabilities.presigner else {
                throw StoreError(.invalid, "the store '\(location.store)' signs no addresses")
            }
            return (presigner, place)
        }

        func presigns(_ location: ObjectLocation) -> Bool { stores[location.store]?.capabilities.presigner != nil }
        func presignReading(_ location: ObjectLocation, as facts: PresignedFacts, seconds: Int64) throws(StoreError)
            -> String
        {
            let (presigner, place) = try engine(location)
            return try presigner.presignReading(place, as: facts, seconds: seconds)
        }
        func presignWriting(_ location: ObjectLocation, seconds: Int64) throws(StoreError) -> String {
            let (presigner, place) = try engine(location)
            return try presigner.presignWriting(place, seconds: seconds)
        }
        func signsParts(_ location: ObjectLocation) -> Bool {
            stores[location.store]?.capabilities.presigner?.signsParts(location.inStore("")) ?? false
        }
        func beginPresignedParts(_ location: ObjectLocation) throws(StoreError) -> String {
            let (presigner, place) = try engine(location)
            return try presigner.beginPresignedParts(place)
        }
        func presignPart(_ location: ObjectLocation, upload: String, number: Int, seconds: Int64) throws(StoreError)
            -> String
        {
            let (presigner, place) = try engine(location)
            return try presigner.presignPart(place, upload: upload, number: number, seconds: seconds)
        }
        func completePresignedParts(_ location: ObjectLocation, upload: String, tags: [String]) throws(StoreError) {
            let (presigner, place) = try engine(location)
            try presigner.completePresignedParts(place, upload: upload, tags: tags)
        }
        func abortPresignedParts(_ location: ObjectLocation, upload: String) throws(StoreError) {
            let (presigner, place) = try engine(location)
            try presigner.abortPresignedParts(place, upload: upload)
        }
    }
}

import Foundations
import LakeAPI

/// GeoJSON drawn on a plain map: longitude to the right, latitude up, nothing behind it. Source: RFC 7946.
enum GeoMap {
    private static let mostPoints = 50_000
    private static let width = 720.0, height = 420.0

    private struct Shapes {
        var points: [(Double, Double)] = []
        var lines: [(points: [(Double, Double)], isArea: Bool)] = []
        var count = 0
        var isCut = false
    }

    static func html(_ bytes: [UInt8]) throws -> HTML {
        guard let value = try? Coding.decodeForeign(JSONValue.self, bytes) else {
            throw PageError(400, "This is no GeoJSON: it is not valid JSON. Its bytes are below.")
        }
        var shapes = Shapes()
        collect(value, &shapes)
        let all = shapes.points + shapes.lines.flatMap(\.points)
        guard let first = all.first else { throw PageError(400, "There is no geometry in this GeoJSON.") }
        let bounds = all.reduce((west: first.0, east: first.0, south: first.1, north: first.1)) {
            (min($0.west, $1.0), max($0.east, $1.0), min($0.south, $1.1), max($0.north, $1.1))
        }
        let scale = min(
            (width - 20) / max(bounds.east - bounds.west, 1e-6), (height - 20) / max(bounds.north - bounds.south, 1e-6))
        func place(_ point: (Double, Double)) -> String {
            "\(tenths((point.0 - bounds.west) * scale + 10)) \(tenths((bounds.north - point.1) * scale + 10))"
        }
        let lines = shapes.lines.map { line -> HTML in
            let path = "M" + line.points.map(place).joined(separator: "L") + (line.isArea ? "Z" : "")
            return "<path d=\"\(path)\" class=\"\(line.isArea ? "area" : "way")\"/>"
        }
        let points = shapes.points.map { point -> HTML in
            let parts = place(point).split(separator: " ")
            return "<circle cx=\"\(parts[0])\" cy=\"\(parts[1])\" r=\"3\"/>"
        }
        return """
            <svg class="map" viewBox="0 0 720 420" role="img" aria-label="Map of \(Show.count(shapes.points.count + shapes.lines.count, "shape"))">\(lines)\(points)</svg>
            <p class="faint">\(Show.count(shapes.points.count + shapes.lines.count, "shape")) between \(tenths(bounds.west))° and \(tenths(bounds.east))° east, \(tenths(bounds.south))° and \(tenths(bounds.north))° north\(", cut", if: shapes.isCut).</p>
            """
    }

    private static func tenths(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

    private static func number(_ value: JSONValue) -> Double? {
        switch value {
        case .integer(let whole): Double(whole)
        case .number(let number) where number.isFinite: number
        default: nil
        }
    }

    private static func point(_ value: JSONValue) -> (Double, Double)? {
        guard case .list(let pair) = value, pair.count >= 2, let x = number(pair[0]), let y = number(pair[1]),
            abs(x) <= 1e6, abs(y) <= 1e6
        else { return nil }
        return (x, y)
    }

    private static func collect(_ value: JSONValue, _ shapes: inout Shapes) {
        guard case .object(let object) = value else { return }
        for name in ["features", "geometries"] {
            if case .list(let list)? = object[name] { for item in list { collect(item, &shapes) } }
        }
        if let geometry = object["geometry"] { collect(geometry, &shapes) }
        guard let coordinates = object["coordinates"] else { return }
        let type = object["type"]?.text ?? ""
        add(coordinates, isPoint: type.hasSuffix("Point"), isArea: type.hasSuffix("Polygon"), &shapes)
    }

    private static func add(_ value: JSONValue, isPoint: Bool, isArea: Bool, _ shapes: inout Shapes) {
        guard case .list(let list) = value else { return }
        guard shapes.count < mostPoints else {
            shapes.isCut = true
            return
        }
        if let only = point(value) {
            shapes.points.append(only)
            shapes.count += 1
        } else if !isPoint, let first = list.first, point(first) != nil {
            let points = list.prefix(mostPoints - shapes.count).compactMap(point)
            shapes.lines.append((points, isArea))
            shapes.count += points.count
        } else {
            for item in list { add(item, isPoint: isPoint, isArea: isArea, &shapes) }
        }
    }
}

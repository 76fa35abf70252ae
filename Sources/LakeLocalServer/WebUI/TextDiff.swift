import Foundations

/// The lines in which two texts differ. Source: E. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986.
enum TextDiff {
    enum Line: Sendable, Equatable {
        case same(old: Int, new: Int)
        case removed(Int)
        case added(Int)
    }

    /// Differences that are looked for; more than that is another text.
    private static let mostSteps = 1500

    /// Nil if the two have too little in common.
    static func lines<Text: Equatable>(_ old: [Text], _ new: [Text]) -> [Line]? {
        // What they begin and end with alike is no matter of the search.
        var first = 0
        while first < min(old.count, new.count), old[first] == new[first] { first += 1 }
        var last = 0
        while last < min(old.count, new.count) - first, old[old.count - 1 - last] == new[new.count - 1 - last] {
            last += 1
        }
        let a = old[first..<old.count - last]
        let b = new[first..<new.count - last]
        guard let middle = steps(Array(a), Array(b)) else { return nil }
        var lines = (0..<first).map { Line.same(old: $0, new: $0) }
        lines += middle.map { line in
            switch line {
            case .same(let old, let new): .same(old: old + first, new: new + first)
            case .removed(let old): .removed(old + first)
            case .added(let new): .added(new + first)
            }
        }
        for index in 0..<last { lines.append(.same(old: old.count - last + index, new: new.count - last + index)) }
        return lines
    }

    private static func steps<Text: Equatable>(_ a: [Text], _ b: [Text]) -> [Line]? {
        let most = min(a.count + b.count, mostSteps)
        var furthest = [Int](repeating: 0, count: 2 * most + 3)
        let middle = most + 1
        var trace: [[Int]] = []
        search: for depth in 0...most {
            trace.append(Array(furthest[(middle - depth - 1)...(middle + depth + 1)]))
            for diagonal in stride(from: -depth, through: depth, by: 2) {
                var x =
                    diagonal == -depth
                        || (diagonal != depth && furthest[middle + diagonal - 1] < furthest[middle + diagonal + 1])
                    ? furthest[middle + diagonal + 1] : furthest[middle + diagonal - 1] + 1
                var y = x - diagonal
                while x < a.count, y < b.count, a[x] == b[y] { (x, y) = (x + 1, y + 1) }
                furthest[middle + diagonal] = x
                if x >= a.count, y >= b.count { break search }
            }
            if depth == most { return nil }
        }
        var lines: [Line] = []
        var (x, y) = (a.count, b.count)
        for depth in stride(from: trace.count - 1, through: 0, by: -1) {
            let known = trace[depth]  // Diagonals from -depth-1 to depth+1.
            func reached(_ diagonal: Int) -> Int { known[diagonal + depth + 1] }
            let diagonal = x - y
            let before =
                diagonal == -depth || (diagonal != depth && reached(diagonal - 1) < reached(diagonal + 1))
                ? diagonal + 1 : diagonal - 1
            let startX = depth == 0 ? 0 : reached(before)
            let startY = depth == 0 ? 0 : startX - before
            while x > startX, y > startY, x > 0, y > 0 {
                (x, y) = (x - 1, y - 1)
                lines.append(.same(old: x, new: y))
            }
            guard depth > 0 else { break }
            if x > startX {
                x -= 1
                lines.append(.removed(x))
            } else if y > startY {
                y -= 1
                lines.append(.added(y))
            }
            // A snake may lie before the step too.
            (x, y) = (startX, startY)
        }
        return lines.reversed()
    }
}

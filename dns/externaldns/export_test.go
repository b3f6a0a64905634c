package externaldns

// Authorities makes a Backend find zones through the given resolvers, and ask authoritative servers at the given port.
func (b *Backend) Authorities(port string, resolvers ...string) {
	b.asker.port, b.asker.resolvers = port, resolvers
}

// Remembered returns of how many Ingresses a Backend keeps how far they are.
func (b *Backend) Remembered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.progress)
}

// EndpointOf and RecordOf are what a round trip is made of.
var (
	EndpointOf = endpointOf
	RecordOf   = recordOf
)

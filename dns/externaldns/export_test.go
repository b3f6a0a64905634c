package externaldns

// Authorities makes a Backend find zones through the given resolvers, and ask authoritative servers at the given port.
func (b *Backend) Authorities(port string, resolvers ...string) {
	b.asker.port, b.asker.resolvers = port, resolvers
}

// EndpointOf and RecordOf are what a round trip is made of.
var (
	EndpointOf = endpointOf
	RecordOf   = recordOf
)

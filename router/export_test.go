package router

// NewTakeover returns provider skipper as a Factory has it, beside a router of provider dns-weighted. A dnsErr says that this one cannot work.
func NewTakeover(skipper *Skipper, dns *DNSWeighted, dnsErr error) Interface {
	return newTakeover(skipper, dns, dnsErr)
}

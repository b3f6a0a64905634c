// Package weights is the arithmetic of traffic weights: what people write goes in (percentages), what Route 53 takes comes
// out (record weights), exactly. It imports the standard library only and owns no object.
package weights

package main

import "strings"

// once says what went wrong to somebody whose command ends with it: nothing is tried again, and the credentials are those of a person.
func once(text string) string {
	text = strings.ReplaceAll(text, ", tried again on the next call", "")
	// The AWS SDK has looked everywhere else when it asks the instance that it runs on, and has no error of its own for that.
	if strings.Contains(text, "no EC2 IMDS role found") {
		text += ": no AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID"
	}
	return text
}

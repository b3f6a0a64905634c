package main

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where a command writes.
type screen struct {
	io.Writer

	// width returns the columns of a terminal; 0 says that it is none, or not known. It may change.
	width func() int
	// redraw says that what was written can be written over.
	redraw bool
}

// The sequences of terminals.
// https://ecma-international.org/publications-and-standards/standards/ecma-48/
const (
	clearScreen = "\x1b[H\x1b[2J"
	clearLine   = "\r\x1b[K"
)

func newScreen(out io.Writer) screen {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return screen{out, func() int { return 0 }, false}
	}
	return screen{out, func() int {
		columns, _, err := term.GetSize(int(file.Fd()))
		if err != nil {
			return 0
		}
		return columns
	}, os.Getenv("TERM") != "dumb"}
}

// fit cuts each line of a text to a width in characters; 0 cuts nothing.
func fit(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, end := strings.CutSuffix(line, "\n")
		b.WriteString(cut(line, width))
		if end {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	runes := []rune(line)
	if width <= 3 {
		return string(runes[:width])
	}
	return string(runes[:width-3]) + "..."
}

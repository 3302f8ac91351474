package ui

import (
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// WithPage returns a page's address with another page token; empty for none.
func WithPage(v *Visit, token string) string {
	if token == "" {
		return ""
	}
	query := v.Request.URL.Query()
	query.Set("page_token", token)
	return v.Request.URL.Path + "?" + query.Encode()
}

func firstPage(v *Visit) string {
	query := v.Request.URL.Query()
	query.Del("page_token")
	if len(query) == 0 {
		return v.Request.URL.Path
	}
	return v.Request.URL.Path + "?" + query.Encode()
}

func current(v *Visit, path string) string {
	if v.Request.URL.Path == path {
		return "page"
	}
	return "false"
}

func next(v *Visit) string { return url.QueryEscape(LocalPath(v.Request.URL.RequestURI(), "/")) }

func tagPath(tag string) string { return "/talks?" + url.Values{"tag": {tag}}.Encode() }

// channelPath returns the page of the channel that a talk is on.
func channelPath(talk string) string {
	channel, _, _ := strings.Cut(talk, "/talks/")
	return Path(channel)
}

func people(names []string) string { return strings.Join(names, ", ") }

// day returns "2019-05-03" as people read it.
func day(date string) string {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return date
	}
	return t.Format("2 January 2006")
}

// described ties a field to what is said under it, for those who hear a page.
func described(f Fields, name, hint string) templ.Attributes {
	var by []string
	attributes := templ.Attributes{}
	if f.Wrong[name] != "" {
		attributes["aria-invalid"] = "true"
		by = append(by, name+"-wrong")
	}
	if hint != "" {
		by = append(by, name+"-hint")
	}
	if len(by) > 0 {
		attributes["aria-describedby"] = strings.Join(by, " ")
	}
	return attributes
}

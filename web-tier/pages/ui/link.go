package ui

import (
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// WithPage returns the URL of the current list with the given page token, or "" if token is
// empty.
func WithPage(v *PageContext, token string) string {
	if token == "" {
		return ""
	}
	query := v.Request.URL.Query()
	query.Set("page_token", token)
	return v.Request.URL.Path + "?" + query.Encode()
}

// firstPage returns the URL of the current list without a page token.
func firstPage(v *PageContext) string {
	query := v.Request.URL.Query()
	query.Del("page_token")
	if len(query) == 0 {
		return v.Request.URL.Path
	}
	return v.Request.URL.Path + "?" + query.Encode()
}

// ariaCurrent returns the value of aria-current for a link to path.
func ariaCurrent(v *PageContext, path string) string {
	if v.Request.URL.Path == path {
		return "page"
	}
	return "false"
}

// nextParam returns the current URL, escaped for the query parameter next of the sign-in page.
func nextParam(v *PageContext) string {
	return url.QueryEscape(LocalPath(v.Request.URL.RequestURI(), "/"))
}

func tagPath(tag string) string { return "/talks?" + url.Values{"tag": {tag}}.Encode() }

// channelPath returns the path of the channel page of a talk, given the talk's resource name.
func channelPath(talk string) string {
	channel, _, _ := strings.Cut(talk, "/talks/")
	return Path(channel)
}

// formatDate formats the ISO date "2019-05-03" as "3 May 2019".
func formatDate(date string) string {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return date
	}
	return t.Format("2 January 2006")
}

// ariaDescribedBy links a field to its error and its hint, for screen readers.
func ariaDescribedBy(f Fields, name, hint string) templ.Attributes {
	var ids []string
	attributes := templ.Attributes{}
	if f.Errors[name] != "" {
		attributes["aria-invalid"] = "true"
		ids = append(ids, name+"-error")
	}
	if hint != "" {
		ids = append(ids, name+"-hint")
	}
	if len(ids) > 0 {
		attributes["aria-describedby"] = strings.Join(ids, " ")
	}
	return attributes
}

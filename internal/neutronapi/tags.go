package neutronapi

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
)

const (
	// maxTag is Neutron's longest tag, in characters.
	maxTag = 255
	// maxTags bounds the tags of one resource.
	maxTags = 50
)

// registerTags serves the tags of a resource. Tags change by way of the resource's
// own update, which counts as a change of the resource.
func registerTags[I, M any](a *API, r *resource[I, M]) {
	change := func(req *http.Request, edit func([]string) ([]string, error)) (*M, error) {
		id := req.PathValue("id")
		if !isUUID(id) {
			return nil, r.notFound(clip(id))
		}
		met, err := r.precondition(req, id)
		if err != nil {
			return nil, err
		}
		ctx, _ := a.bound(req.Context(), r.checkChange(a, id, "UPDATE", "update_"+r.name, nil), met)
		return r.update(ctx, id, func(in *I) error {
			st := r.standardIn(in)
			tags, err := edit(slices.Clone(st.Tags))
			if err != nil {
				return err
			}
			if len(tags) > maxTags {
				return badAttribute("Invalid input for tags. Reason: more than %d tags.", maxTags)
			}
			st.Tags = tags
			return nil
		})
	}
	tags := wrapped("tags", openapi.ListOf(openapi.Of(openapi.String), -1))
	tag := openapi.Schema{Type: openapi.Types{openapi.String}, MinLength: 1, MaxLength: maxTag, Pattern: `^[^,/]+$`}
	of := " of " + words(r.name)
	a.handle(r.path+"/{id}/tags", methods{
		http.MethodGet: {name: "list_" + r.name + "_tags", summary: "List the tags" + of + ".", status: http.StatusOK, reply: tags, serve: func(w http.ResponseWriter, req *http.Request) error {
			m, err := read(a, r, req)
			if err != nil {
				return err
			}
			a.WriteJSON(w, http.StatusOK, map[string]any{"tags": list(r.standard(m).Tags)})
			return nil
		}},
		http.MethodPut: {name: "replace_" + r.name + "_tags", summary: "Replace the tags" + of + ".", params: r.ifMatchParameter(), body: wrapped("tags", openapi.ListOf(&tag, -1)), status: http.StatusOK, reply: tags, serve: func(w http.ResponseWriter, req *http.Request) error {
			if err := r.mayAsk(a, req, req.PathValue("id"), "update_"+r.name); err != nil {
				return err
			}
			body, err := ReadBody(req)
			if err != nil {
				return err
			}
			tags, err := toTags(body)
			if err != nil {
				return named("tags", err)
			}
			m, err := change(req, func([]string) ([]string, error) { return tags, nil })
			if err != nil {
				return err
			}
			a.WriteJSON(w, http.StatusOK, map[string]any{"tags": list(r.standard(m).Tags)})
			return nil
		}},
		http.MethodDelete: {name: "delete_" + r.name + "_tags", summary: "Delete the tags" + of + ".", params: r.ifMatchParameter(), status: http.StatusNoContent, serve: func(w http.ResponseWriter, req *http.Request) error {
			if _, err := change(req, func([]string) ([]string, error) { return nil, nil }); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
	})
	a.handle(r.path+"/{id}/tags/{tag}", methods{
		http.MethodGet: {name: "show_" + r.name + "_tag", summary: "Say whether a tag is one" + of + ".", status: http.StatusNoContent, serve: func(w http.ResponseWriter, req *http.Request) error {
			m, err := read(a, r, req)
			if err != nil {
				return err
			}
			if !slices.Contains(r.standard(m).Tags, req.PathValue("tag")) {
				return tagNotFound(req.PathValue("tag"))
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
		http.MethodPut: {name: "add_" + r.name + "_tag", summary: "Add a tag to the tags" + of + ".", params: r.ifMatchParameter(), status: http.StatusCreated, serve: func(w http.ResponseWriter, req *http.Request) error {
			tag, err := toTag(req.PathValue("tag"))
			if err != nil {
				return named("tags", err)
			}
			_, err = change(req, func(tags []string) ([]string, error) {
				if slices.Contains(tags, tag) {
					return tags, nil
				}
				return append(tags, tag), nil
			})
			if err != nil {
				return err
			}
			w.WriteHeader(http.StatusCreated)
			return nil
		}},
		http.MethodDelete: {name: "delete_" + r.name + "_tag", summary: "Delete a tag" + of + ".", params: r.ifMatchParameter(), status: http.StatusNoContent, serve: func(w http.ResponseWriter, req *http.Request) error {
			tag := req.PathValue("tag")
			_, err := change(req, func(tags []string) ([]string, error) {
				i := slices.Index(tags, tag)
				if i < 0 {
					return nil, tagNotFound(tag)
				}
				return slices.Delete(tags, i, i+1), nil
			})
			if err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
	})
}

func read[I, M any](a *API, r *resource[I, M], req *http.Request) (*M, error) {
	v, err := a.view(req.Context())
	if err != nil {
		return nil, err
	}
	return r.get(a, req, v, req.PathValue("id"))
}

func tagNotFound(tag string) error {
	return model.Errf(model.KindNotFound, "TagNotFound", "Tag %s could not be found.", clip(tag))
}

func toTags(body map[string]any) ([]string, error) {
	if err := only(body, "tags"); err != nil {
		return nil, err
	}
	l, err := toList(body["tags"])
	if err != nil {
		return nil, err
	}
	var out []string
	for _, x := range l {
		tag, err := toTag(x)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, tag) {
			continue
		}
		if out = append(out, tag); len(out) > maxTags {
			return nil, reasonf("more than %d tags", maxTags)
		}
	}
	return out, nil
}

func toTag(v any) (string, error) {
	s, ok := v.(string)
	if !ok || s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxTag || strings.ContainsAny(s, ",/") {
		return "", reasonf("'%s' is not a valid tag: 1 to %d characters, neither comma nor slash", text(v), maxTag)
	}
	return s, nil
}

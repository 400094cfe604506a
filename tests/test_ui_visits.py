"""What is kept of each visit of the page."""

import gradio as gr
from gradio.routes import App

from ui.endpoint import Page


def test_a_visit_keeps_its_values_and_no_description_of_the_page():
    with Page() as page:
        state, box = gr.State([1]), gr.Textbox()
    visits = App.create_app(page).state_holder
    assert visits is page.state_holder
    visits["a"][state._id].append(2)
    assert visits["a"][state._id] == [1, 2]
    assert visits["b"][state._id] == [1]
    one = visits["a"]
    one[box._id] = gr.Textbox(visible=False, render=False)  # as an update of a part leaves it
    one._update_config(box._id)
    one._update_value_in_config(box._id, "x")
    assert not one[box._id].visible
    assert visits["b"][box._id].visible
    assert list(one.components) == []
    assert page.blocks[box._id].visible


def test_only_so_many_visits_are_kept():
    page = Page()
    page.state_session_capacity = 2
    visits = App.create_app(page).state_holder
    for name in "abca":
        visits[name]  # noqa: B018
    assert list(visits.session_data) == ["c", "a"]

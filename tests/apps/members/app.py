import os

from flask import Flask, redirect, render_template, request, send_from_directory, url_for
from flask_login import LoginManager, UserMixin, login_required, login_user, logout_user
from flask_wtf import CSRFProtect, FlaskForm
from flask_wtf.file import FileAllowed, FileField, FileRequired
from werkzeug.utils import secure_filename
from wtforms import PasswordField, StringField
from wtforms.validators import DataRequired

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
app.config["UPLOAD_FOLDER"] = os.path.join(app.instance_path, "uploads")
app.config["MAX_CONTENT_LENGTH"] = 4 * 1024 * 1024
CSRFProtect(app)
login_manager = LoginManager(app)
login_manager.login_view = "login"
os.makedirs(app.config["UPLOAD_FOLDER"], exist_ok=True)


class User(UserMixin):
    id = "admin"


class LoginForm(FlaskForm):
    username = StringField("Username", validators=[DataRequired()])
    password = PasswordField("Password", validators=[DataRequired()])


class PhotoForm(FlaskForm):
    photo = FileField(validators=[FileRequired(), FileAllowed(["png", "jpg"])])


@login_manager.user_loader
def load_user(user_id):
    return User() if user_id == User.id else None


@app.get("/")
def index():
    return render_template("index.html", photos=sorted(os.listdir(app.config["UPLOAD_FOLDER"])))


@app.route("/login", methods=["GET", "POST"])
def login():
    form = LoginForm()
    wrong = False
    if form.validate_on_submit():
        if (form.username.data, form.password.data) == ("admin", os.environ["ADMIN_PASSWORD"]):
            login_user(User())
            return redirect(request.args.get("next") or url_for("index"))
        wrong = True
    return render_template("form.html", form=form, wrong=wrong)


@app.route("/photos", methods=["GET", "POST"])
@login_required
def photos():
    form = PhotoForm()
    if form.validate_on_submit():
        name = secure_filename(form.photo.data.filename)
        form.photo.data.save(os.path.join(app.config["UPLOAD_FOLDER"], name))
        return redirect(url_for("index"))
    return render_template("form.html", form=form)


@app.get("/photos/<name>")
@login_required
def photo(name):
    return send_from_directory(app.config["UPLOAD_FOLDER"], name)


@app.post("/logout")
def logout():
    logout_user()
    return redirect(url_for("index"))
